//! A writer that waits for nobody: lines go into a buffer, and a thread writes them out.
//!
//! The thread lets lines gather for a moment, so that a thousand servers that fail at once cost a
//! few writes, not a thousand wake-ups. When it can't keep up, lines are lost and their number is told.

use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

use super::lock;

/// Bytes that may wait to be written: the lines of ten thousand servers that fail at once.
const ROOM: usize = 4 << 20;

/// How long lines gather before they are written.
const GATHER: Duration = Duration::from_millis(10);

/// Takes lines; clones share the buffer.
#[derive(Clone)]
pub struct Queue {
    shared: Arc<Shared>,
}

/// Writes out what is left when it is dropped, and ends the thread.
pub struct Guard {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    lost: u64,
    over: bool,
}

/// Tells on standard error what the log itself can't. Unlike `eprintln!` it does not mind when
/// nobody reads there.
pub fn say(what: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "lvsentry: {what}");
}

/// A queue in front of `writer`. Without a thread to be had every line is lost, and that is told
/// on standard error.
pub fn queue(writer: impl Write + Send + 'static) -> (Queue, Guard) {
    let shared = Arc::new(Shared::default());
    let ours = shared.clone();
    let thread = std::thread::Builder::new().name("log".into()).spawn(move || ours.write_to(writer));
    let thread = thread.map_err(|why| say(format_args!("no thread for the log: {why}"))).ok();
    (Queue { shared: shared.clone() }, Guard { shared, thread })
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        lock(&self.waiting)
    }

    /// Writes until the guard says that it is over.
    fn write_to(&self, mut writer: impl Write) {
        loop {
            let idle = |waiting: &mut Waiting| waiting.bytes.is_empty() && !waiting.over;
            let waiting = self.changed.wait_while(self.lock(), idle).unwrap_or_else(PoisonError::into_inner);
            let over = waiting.over;
            drop(waiting);
            if !over {
                std::thread::sleep(GATHER);
            }
            let (bytes, lost) = {
                let mut waiting = self.lock();
                (std::mem::take(&mut waiting.bytes), std::mem::take(&mut waiting.lost))
            };
            // What can't be written can't be told either.
            let _ = writer.write_all(&bytes);
            if lost > 0 {
                let _ = writeln!(writer, "({lost} lines are lost: the log could not keep up)");
            }
            let _ = writer.flush();
            if over {
                return;
            }
        }
    }
}

impl Write for Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut waiting = self.shared.lock();
        if waiting.bytes.len() + line.len() > ROOM {
            waiting.lost += 1;
        } else {
            let first = waiting.bytes.is_empty();
            waiting.bytes.extend_from_slice(line);
            drop(waiting);
            if first {
                self.shared.changed.notify_one();
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = Queue;

    fn make_writer(&'a self) -> Queue {
        self.clone()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.shared.lock().over = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            // It fails only when the writer panicked: then there is nothing left to do.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// A writer that hands on what it is given once it is let.
    struct Slow {
        let_in: mpsc::Receiver<()>,
        out: mpsc::Sender<Vec<u8>>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.let_in.recv();
            self.out.send(bytes.to_vec()).unwrap();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_come_together_are_written_together_and_the_last_ones_at_the_end() {
        let (let_in, waits) = mpsc::channel();
        let (out, written) = mpsc::channel();
        let (mut queue, guard) = queue(Slow { let_in: waits, out });
        for n in 0..1000 {
            writeln!(queue, "line {n}").unwrap();
        }
        drop(let_in);
        drop(guard);
        let all: Vec<Vec<u8>> = written.iter().collect();
        let text = String::from_utf8(all.concat()).unwrap();
        assert_eq!(text.lines().count(), 1000);
        assert!(text.ends_with("line 999\n"));
        assert!(all.len() < 100, "{} writes", all.len());
    }

    #[test]
    fn a_writer_that_stands_still_holds_nobody_up_and_the_loss_is_told() {
        let (let_in, waits) = mpsc::channel();
        let (out, written) = mpsc::channel();
        let (mut queue, guard) = queue(Slow { let_in: waits, out });
        let line = [b'x'; 1024];
        for _ in 0..20_000 {
            queue.write_all(&line).unwrap(); // returns though nothing is written
        }
        drop(let_in);
        drop(guard);
        let text = String::from_utf8(written.iter().collect::<Vec<_>>().concat()).unwrap();
        assert!(text.len() <= 3 * ROOM, "{} bytes were kept", text.len());
        assert!(text.contains("lines are lost"), "the loss is not told");
    }
}
