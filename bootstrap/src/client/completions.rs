//! `spillway completions`: a document about the command line itself.
//!
//! * The generator offers files where it knows nothing better, and completes no arguments without an option in fish. Both are
//!   corrected here.

use clap::{Arg, Command, ValueHint};
use clap_complete::Shell;

/// The completions of a shell for this command line.
#[must_use]
pub fn completions(shell: Shell, command_line: Command) -> String {
    let mut command_line = without_files(command_line);
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command_line, "spillway", &mut script);
    let mut script = String::from_utf8_lossy(&script).into_owned();
    if shell == Shell::Fish {
        command_line.get_subcommands().for_each(|command| push_arguments(&mut script, command));
    }
    script
}

/// The same command line, where a value is a file only if an option says so.
fn without_files(command: Command) -> Command {
    let other = |argument: Arg| {
        let is_text = argument.get_action().takes_values()
            && argument.get_value_hint() == ValueHint::Unknown
            && argument.get_possible_values().is_empty();
        if is_text { argument.value_hint(ValueHint::Other) } else { argument }
    };
    command.mut_args(other).mut_subcommands(without_files)
}

/// The values of the arguments of a command for fish. The commands of commands have none to suggest.
fn push_arguments(script: &mut String, command: &Command) {
    let mut arguments = command.get_positionals().peekable();
    let takes_files =
        |argument: &Arg| argument.get_value_hint() != ValueHint::Other && argument.get_possible_values().is_empty();
    if arguments.peek().is_none() || command.get_positionals().any(takes_files) {
        return;
    }
    let values: Vec<String> =
        arguments.flat_map(Arg::get_possible_values).map(|value| value.get_name().to_owned()).collect();
    let (name, values) = (command.get_name(), values.join(" "));
    script
        .push_str(&format!("complete -c spillway -n \"__fish_spillway_using_subcommand {name}\" -f -a \"{values}\"\n"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command_line() -> Command {
        let option = |name: &'static str| Arg::new(name).long(name);
        let field = Arg::new("field").value_parser(["level", "source"]);
        Command::new("spillway")
            .subcommand(Command::new("values").arg(field).arg(Arg::new("query").num_args(0..)))
            .subcommand(
                Command::new("send")
                    .arg(option("format"))
                    .arg(option("file").value_hint(ValueHint::FilePath))
                    .arg(Arg::new("files").value_hint(ValueHint::FilePath)),
            )
            .subcommand(Command::new("all"))
    }

    #[test]
    fn files_are_offered_only_for_files() {
        let script = completions(Shell::Bash, command_line());
        let of_option =
            |option: &str| script.split(&format!("--{option})")).nth(1).and_then(|text| text.split(";;").next());
        assert!(of_option("format").is_some_and(|text| !text.contains("compgen -f")), "{script}");
        assert!(of_option("file").is_some_and(|text| text.contains("compgen -f")), "{script}");
    }

    #[test]
    fn fish_completes_the_arguments_of_a_command() {
        let script = completions(Shell::Fish, command_line());
        let own: Vec<&str> = script.lines().filter(|line| line.contains("using_subcommand values\" -f")).collect();
        assert_eq!(own, [r#"complete -c spillway -n "__fish_spillway_using_subcommand values" -f -a "level source""#]);
    }
}
