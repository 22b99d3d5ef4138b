//! What happens around the table: maintenance files, commands, monitor files. A daemon over a kernel in
//! memory, with scripted servers, and real directories, processes and files.

mod hooks;
mod journal;
mod maintenance;
mod monitor;
mod told;
mod world; // a daemon, and what tests look at and turn
