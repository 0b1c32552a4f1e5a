//! The options in effect, as data.

use super::{Options, Verbosity, Workload};
use crate::{
    cli::{bind::Family, value::Seconds},
    fsm::{
        config::{AckMode, Config, Patience},
        time::Millis,
    },
    protocol::json::{list, members, number, or_null, text},
};
use miniserde::json::{Object, Value};
use std::{ffi::OsStr, path::Path};

impl Options {
    /// What is in effect, by the options' long names; text is as it would be typed. `config` is what the machine
    /// makes of them, and `workers` how many there are to be by now.
    #[must_use]
    pub fn in_effect(&self, config: &Config, workers: u32) -> Object {
        // Without a rest, so that none is left out.
        let Self {
            number: _,
            binds,
            family,
            ack,
            retries,
            exit_on_failure,
            command_name,
            socket_path,
            command_socket_as_fd,
            pidfile,
            reexec_as,
            lockfile,
            kill_children_on_exit,
            no_keeper,
            fdstore,
            adopt,
            nice,
            drop_env,
            drop_env_later,
            chdir,
            verbosity,
            syslog,
            grace,
            stop_signal,
            backoff,
            backlog,
            max_unacked: _,
            max_surge: _,
            trace,
            alarm_upgrades: _,
            remarks: _,
            without_files: _,
            workload,
        } = self;
        let (ready, after, timeout) = match *ack {
            AckMode::After(after) => ("timer", Some(after), None),
            AckMode::Manual(timeout) => ("manual", None, Some(timeout)),
            AckMode::Accepting(Patience { after, timeout }) => ("accepting", Some(after), Some(timeout)),
            AckMode::Auto(Patience { after, timeout }) => ("auto", Some(after), Some(timeout)),
        };
        let program = match workload {
            Workload::Program { program, args } => {
                list([program].into_iter().chain(args).map(|word| os(word)))
            }
            Workload::Demo | Workload::DemoWorker => Value::Null,
        };
        members([
            ("ack-after", or_null(after, seconds)),
            ("ack-timeout", or_null(timeout, seconds)),
            ("backlog", or_null(*backlog, number)),
            ("bind", list(binds.iter().map(|bind| text(&bind.to_string())))),
            ("chdir", or_null(chdir.as_deref(), path)),
            ("command-name", or_null(command_name.as_ref(), |name| text(name.as_str()))),
            ("command-socket-as-fd", Value::Bool(*command_socket_as_fd)),
            ("demo", Value::Bool(*workload == Workload::Demo)),
            ("drop-env-var", list(drop_env.iter().chain(drop_env_later).map(|name| os(name)))),
            ("exit-on-failure", Value::Bool(*exit_on_failure)),
            ("grace-period", seconds(*grace)),
            ("ipv4-only", Value::Bool(*family == Family::V4)),
            ("ipv6-only", Value::Bool(*family == Family::V6)),
            ("kill-children-on-exit", Value::Bool(*kill_children_on_exit)),
            ("no-keeper", Value::Bool(*no_keeper)),
            ("fdstore", Value::Bool(*fdstore)),
            ("adopt", Value::Bool(*adopt)),
            ("lockfile", or_null(lockfile.as_deref(), path)),
            ("max-unacked", number(config.max_unacked)),
            ("max-upgrade-additional", number(config.max_surge)),
            ("nice", or_null(*nice, |nice| text(&nice.to_string()))),
            ("number", number(workers)),
            ("pidfile", or_null(pidfile.as_deref(), path)),
            ("reexec-as", or_null(reexec_as.as_deref(), path)),
            ("program", program),
            ("quiet", Value::Bool(*verbosity == Verbosity::Quiet)),
            ("ready", text(ready)),
            ("retries", number(*retries)),
            ("seconds", seconds(*backoff)),
            ("socket-path", path(socket_path)),
            ("stop-signal", text(stop_signal.map_or("auto", |signal| signal.word()))),
            ("syslog", Value::Bool(*syslog)),
            ("trace", or_null(trace.as_deref(), path)),
            ("verbose", Value::Bool(*verbosity == Verbosity::Verbose)),
        ])
    }
}

fn seconds(time: Millis) -> Value {
    text(&Seconds(time).to_string())
}

fn os(word: &OsStr) -> Value {
    text(&word.to_string_lossy())
}

fn path(path: &Path) -> Value {
    os(path.as_os_str())
}
