//! A hostile server over UDP.

use std::net::SocketAddr;

use tokio::net::UdpSocket;

use super::cases::Scene;
use super::plan::{Ill, Then};
use super::server::Server;

/// Datagrams that follow one question at most.
const FLOOD: usize = 300;

impl Server {
    /// Answers each question until it is dropped.
    pub async fn answer(mut self, socket: UdpSocket) {
        let mut heard = vec![0; 65_536];
        while let Ok((length, from)) = socket.recv_from(&mut heard).await {
            let scene = Scene { heard: &heard[..length], at: self.at, data: self.data };
            let Some(answer) = (self.case.says)(0, &scene) else { continue };
            self.burst(&socket, from, answer).await;
        }
    }

    async fn burst(&mut self, socket: &UdpSocket, to: SocketAddr, answer: Vec<u8>) {
        let count = match self.plan.ill {
            Ill::None | Ill::Mute => 0,
            Ill::Garbage | Ill::Mutated => 1 + self.plan.dice.below(3),
            Ill::Endless => FLOOD,
        };
        for _ in 0..count {
            let spoilt = self.spoilt(answer.clone());
            // One that is too long, or that nobody waits for any more, is lost.
            let _ = socket.send_to(&spoilt[..spoilt.len().min(60_000)], to).await;
        }
        if self.plan.ill == Ill::None || self.plan.then == Then::On {
            let _ = socket.send_to(&answer, to).await;
        }
    }
}
