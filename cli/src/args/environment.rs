//! Every flag is also an environment variable: `--for` is `LOCKSTEP_FOR`. Said
//! once for all commands, so that none is forgotten.

use clap::{Arg, Command, CommandFactory as _, FromArgMatches as _};

use super::Cli;

impl Cli {
    /// What the process was called with; ends it where that makes no sense.
    #[must_use]
    pub fn from_environment() -> Self {
        let matches = Self::whole().get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }

    /// The command with its variables.
    pub(crate) fn whole() -> Command {
        with_variables(Self::command())
    }
}

fn with_variables(command: Command) -> Command {
    command
        .mut_args(with_variable)
        .mut_subcommands(with_variables)
}

fn with_variable(argument: Arg) -> Arg {
    let Some(long) = argument.get_long() else {
        return argument;
    };
    if argument.get_env().is_some() || ["help", "version"].contains(&long) {
        return argument;
    }
    let name = format!("LOCKSTEP_{}", long.to_uppercase().replace('-', "_"));
    // clap keeps names for as long as the process lives.
    argument.env(&*name.leak()).hide_env_values(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(command: &Command) {
        for argument in command.get_arguments() {
            let Some(long) = argument.get_long() else {
                continue;
            };
            if ["help", "version"].contains(&long) {
                continue;
            }
            let name = format!("LOCKSTEP_{}", long.to_uppercase().replace('-', "_"));
            let variable = argument.get_env().and_then(|name| name.to_str());
            assert_eq!(variable, Some(&*name), "{}", command.get_name());
        }
        command.get_subcommands().for_each(check);
    }

    #[test]
    fn every_flag_of_every_command_is_also_a_variable() {
        let command = Cli::whole();
        check(&command);
        command.debug_assert();
    }
}
