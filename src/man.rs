//! `idemproxy man` and `idemproxy completions`: what the command line says of itself, for a reader and for a shell.

use std::io;

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::cli::Cli;

/// The script by which `shell` completes the command line.
pub(crate) fn completions(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), NAME, &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// The manual page, in section 1: one for all commands.
///
/// # Errors
///
/// None are known: it is written to memory.
pub(crate) fn page() -> io::Result<String> {
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    let mut page = HEAD.to_owned();
    let man = Man::new(program.clone());
    let mut sections = Vec::new();
    man.render_name_section(&mut sections)?;
    man.render_synopsis_section(&mut sections)?;
    man.render_description_section(&mut sections)?;
    man.render_options_section(&mut sections)?;
    add(&mut page, &sections, &DEFINITIONS);
    page.push_str(".SH COMMANDS\n");
    for command in program.get_subcommands() {
        describe(command, &mut page)?;
    }
    page.push_str(REST);
    Ok(page)
}

/// A command and the commands below it, a subsection each.
fn describe(command: &Command, page: &mut String) -> io::Result<()> {
    let told_above = |id: &str| ["help", "version"].contains(&id);
    let man = Man::new(command.clone().mut_args(|option| {
        let hide = option.is_hide_set() || told_above(option.get_id().as_str());
        option.hide(hide)
    }));
    let mut sections = Vec::new();
    man.render_synopsis_section(&mut sections)?;
    sections.extend(b".PP\n");
    man.render_description_section(&mut sections)?;
    man.render_options_section(&mut sections)?;
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name());
    page.push_str(&format!(".SS {name}\n"));
    add(page, &sections, &[".SH ", DEFINITIONS[0], DEFINITIONS[1]]);
    for below in command.get_subcommands() {
        describe(below, page)?;
    }
    Ok(())
}

/// Adds `sections` without the lines that begin with one of `but`, without empty lines, which troff would show, without blanks at
/// the end of a line and a second break after the first.
fn add(page: &mut String, sections: &[u8], but: &[&str]) {
    for line in String::from_utf8_lossy(sections).lines().map(str::trim_end) {
        let again = line == ".br" && page.ends_with("\n.br\n");
        if !line.is_empty() && !again && !but.iter().any(|start| line.starts_with(start)) {
            page.push_str(line);
            page.push('\n');
        }
    }
}

const NAME: &str = "idemproxy";

/// What each section that is rendered begins with; once is enough.
const DEFINITIONS: [&str; 2] = [".ie ", ".el "];

const HEAD: &str = concat!(
    ".ie \\n(.g .ds Aq \\(aq\n",
    ".el .ds Aq '\n",
    // No date: the version says it.
    ".TH IDEMPROXY 1 \"\" \"idemproxy ",
    env!("CARGO_PKG_VERSION"),
    "\" \"User Commands\"\n",
);

const REST: &str = r#".SH SIGNALS
.TP
SIGTERM, SIGINT
Drain: not ready any more; after
.I drain_delay
no new connections; running requests have
.I drain_timeout
to settle. The second one ends the waiting.
.TP
SIGHUP
Reload the configuration.
.SH EXIT STATUS
.TP
0
Done, also after a drain that ran into its deadline.
.TP
1
Failed at run time.
.TP
2
Bad usage or configuration.
.SH ENVIRONMENT
A flag comes before its variable, that before the file, that before the default.
.TP
.B NOTIFY_SOCKET
The socket where a service manager is told of starts, reloads and stops, see
.BR sd_notify (3).
.SH FILES
.TP
.I idemproxy\-data
The records of the embedded store, in the working directory unless configured
otherwise.
.SH SEE ALSO
.B idemproxy schema
describes every setting of the configuration file.
"#;
