//! What becomes of a configuration that changed on disk, or that somebody asked to be read anew.

use std::sync::Arc;

use tracing::{error, info};

use super::changes::Changes;
use super::{Daemon, Event, Input, journal, maintenance};
use crate::calm::calmly;
use crate::config::Loaded;
use crate::config::diagnostic::Report;
use crate::http::ask::{Refusal, Reloaded};
use crate::span::{Fault, Severity};

impl Daemon {
    pub(super) fn file_changed(&mut self) {
        self.callback_due = true;
        info!(id = "file-changed", "Configuration file '{}' has changed on disk", self.path.display());
        if self.config.autoreload {
            info!(id = "file-reread", " - reread new configuration");
            self.unasked |= !self.loading;
            self.load();
        } else {
            info!(id = "file-ignored", " - ignore new configuration");
            self.call_back();
        }
    }

    fn call_back(&mut self) {
        if std::mem::take(&mut self.callback_due)
            && let Some(program) = &self.config.callback
        {
            self.hooks.call_back(program, &self.path);
        }
    }

    pub(super) fn load(&mut self) {
        if self.loading {
            self.reload_again = true;
            return;
        }
        self.loading = true;
        self.reloading = std::mem::take(&mut self.reload_asked);
        let (loader, sender, before) = (self.loader.clone(), self.sender.clone(), self.config.clone());
        calmly(move || {
            let loaded = loader().map(|mut loaded| {
                let changes = Changes::new(&before, &mut loaded.config);
                (loaded, changes)
            });
            let directory = loaded.as_ref().ok().and_then(|(loaded, _)| loaded.config.maintenance.as_ref());
            if let Some(directory) = directory {
                let _ = sender.blocking_send(Event::Maintenance(maintenance::first(directory)));
            }
            let _ = sender.blocking_send(Event::Loaded(Box::new(loaded)));
        });
    }

    /// A file that was emptied is most often about to be written, or was lost: it takes no service away unless
    /// somebody asks for that.
    fn believed(&self, loaded: Result<(Loaded, Changes), Report>) -> Result<(Loaded, Changes), Report> {
        match loaded {
            Ok((Loaded { config, mut report }, _))
                if self.unasked
                    && config.plan.services.is_empty()
                    && !self.config.plan.services.is_empty() =>
            {
                let message = "the file names no service, and nobody asked for it to be read".into();
                let help = Some("to remove all services, tell the daemon to reload (HUP)".into());
                report.faults.push(Fault { severity: Severity::Error, span: None, message, help });
                Err(report)
            }
            loaded => loaded,
        }
    }

    pub(super) fn loaded(&mut self, loaded: Result<(Loaded, Changes), Report>) {
        self.loading = false;
        let waiters = std::mem::take(&mut self.reloading);
        let loaded = self.believed(loaded);
        self.unasked = false;
        if std::mem::take(&mut self.reload_again) {
            self.load();
        }
        let answer = match loaded {
            Ok((loaded, changes)) => Ok(self.take_over(loaded, changes)),
            Err(report) => Err(self.keep(&report)),
        };
        waiters.into_iter().for_each(|reply| drop(reply.send(answer.clone())));
        if !self.loading {
            self.call_back();
        }
    }

    /// A new configuration comes into force.
    fn take_over(&mut self, loaded: Loaded, changes: Changes) -> Reloaded {
        if let Some(log) = &self.log {
            log.set(&loaded.config.log);
        }
        journal::report(&loaded.report);
        let before = std::mem::replace(&mut self.config, Arc::new(loaded.config));
        // To give back what a large one takes would hold the loop up for milliseconds.
        calmly(move || drop(before));
        self.results.forget(&changes.gone);
        self.probers.change(&changes.gone, changes.new);
        self.tell_workers();
        self.alerting.reloaded(&self.config);
        self.monitors.set(&self.config);
        let held = self.maintenance.set(&self.config);
        self.inform(Input::Maintenance(held));
        self.further.want(&self.config.execute);
        self.inform(Input::Reloaded(self.config.plan.clone()));
        if self.duty.active {
            self.follow(changes.around);
        }
        self.role_reloaded();
        let (services, probes) = (self.config.plan.services.len(), self.probers.count());
        info!(id = "reloaded", "configuration in force: {services} services, {probes} probes");
        self.recent.add("reloaded", None, None, format!("configuration in force: {services} services"));
        let errors = loaded.report.errors().count() + loaded.report.mistakes().count();
        let warnings = loaded.report.warnings().count();
        Reloaded { changes: changes.lines, errors, warnings }
    }

    /// A new configuration is refused: the one in force stays.
    fn keep(&mut self, report: &Report) -> Refusal {
        journal::report(report);
        error!(id = "reload-refused", "the new configuration is refused; the running one stays, whole");
        self.recent.add("reload-refused", None, None, "the new configuration is refused".into());
        Refusal::Config(report.render(false))
    }
}
