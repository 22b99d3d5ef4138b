//! What is printed about the program itself. Pure.

/// The version that ldirectord calls itself by: log watchers and scripts know it.
pub(super) const VERSION: &str = "Linux Director v1.186-ha";

/// What `-v` prints: as many lines as ldirectord's.
pub(super) fn version() -> String {
    format!(
        "{VERSION}\n\
         \n\
         This is lvsentry {}, called by the name of ldirectord.\n\
         It takes the command line, files and messages of that program.\n\
         \n\
         Licence: MIT or Apache-2.0, at your option.\n\
         There is no warranty.\n\
         See `lvsentry --help` for its own commands.\n",
        env!("CARGO_PKG_VERSION")
    )
}

/// What a wrong command line is answered with.
pub(super) const USAGE: &str = "\
SYNOPSIS
    ldirectord [-d|--debug] [--] [CONFIG] ACTION
    ldirectord -h|-?|--help
    ldirectord -v|--version

    ACTION is one of start, stop, restart, try-restart, reload, force-reload
    and status.

OPTIONS
    CONFIG
        The configuration. It is looked for in /etc/ha.d, in /etc/ha.d/conf and
        then as a path of its own; the first file counts. Default: ldirectord.cf.
        Its last component, suffix included, is the name of the instance:
        web.cf has the pid file /var/run/ldirectord.web.cf.pid. Several
        instances run side by side.

    start
        Starts the daemon. Returns once it runs; does nothing when it already does.

    stop
        Ends the daemon. With cleanstop=yes, the default, its virtual services
        leave the kernel.

    restart
        Ends the daemon and starts a new one. The kernel's table stays as it is.

    try-restart
        The same, but only when the daemon runs.

    reload, force-reload
        Makes the daemon read its configuration again.

    status
        Says whether the daemon runs.

    -d, --debug
        Stays in the foreground, without a pid file, and tells everything on
        standard error.

    -h, -?, --help
        Prints this and more.

    -v, --version
        Prints the version.
";

/// What `-h` prints after the usage.
pub(super) const MANUAL: &str = "
EXIT STATUS
    0    done; for status: the daemon runs
    1    no such configuration; the daemon could not start; for status: a stale
         pid file; for reload: nothing runs
    2    the configuration is refused
    3    for status: nothing runs
    255  a wrong command line

FILES
    /etc/ha.d/ldirectord.cf              the configuration
    /var/run/ldirectord.INSTANCE.pid     the number of the daemon's process
    /var/log/ldirectord.log              the log, unless logfile= says otherwise

SIGNALS
    TERM, INT, QUIT, ABRT end the daemon; HUP makes it read its configuration
    again; USR1 ends it and leaves the kernel's table as it is.
";
