//! The program: arguments to a command, a command to an exit code. Everything else is the library's.

fn main() -> std::process::ExitCode {
    sluice::cli::run()
}
