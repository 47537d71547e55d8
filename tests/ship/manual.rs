//! The manual page and the completions, read by those who they are for.

use std::io::Write;
use std::process::{Command, Stdio};

use super::{idemproxy, stdout};

#[test]
fn the_manual_page_tells_of_every_command_and_flag_that_help_tells_of() {
    let page = stdout(idemproxy().arg("man").output().unwrap()).replace('\\', "");
    let mut commands = 0;
    let mut flags = 0;
    let mut untold = vec![Vec::new()];
    while let Some(path) = untold.pop() {
        let help = stdout(idemproxy().args(&path).arg("--help").output().unwrap());
        let listed = help.split("Commands:\n").nth(1).unwrap_or_default();
        let listed = listed.split("\n\n").next().unwrap();
        for name in listed.lines().filter_map(|line| line.strip_prefix("  ")) {
            if let Some(name) = name
                .split(' ')
                .next()
                .filter(|name| !name.is_empty() && *name != "help")
            {
                let below: Vec<String> = [&path[..], &[name.to_owned()]].concat();
                let title = format!("\n.SS idemproxy {}\n", below.join(" "));
                assert!(page.contains(&title), "{title}\n{page}");
                commands += 1;
                untold.push(below);
            }
        }
        for word in help
            .split_whitespace()
            .filter(|word| word.starts_with("--") && word.len() > 2)
        {
            let flag: String = word
                .chars()
                .take_while(|c| *c == '-' || c.is_alphanumeric())
                .collect();
            assert!(page.contains(&flag), "{flag}\n{page}");
            flags += 1;
        }
    }
    assert!(
        commands >= 8 && flags >= 20,
        "{commands} commands, {flags} flags"
    );
    for word in ["IDEMPROXY_UPSTREAM", "SIGTERM", "EXIT STATUS"] {
        assert!(page.contains(word), "{word}\n{page}");
    }
}

#[test]
fn the_manual_page_shows_no_value_of_a_variable() {
    let mut command = idemproxy();
    command
        .arg("man")
        .env("IDEMPROXY_STORE", "redis://:hunter2@h");
    command.env("IDEMPROXY_CONFIG", "hunter2");
    assert!(!stdout(command.output().unwrap()).contains("hunter2"));
}

#[test]
fn mandoc_has_no_fault_to_find_with_the_manual_page() {
    let page = stdout(idemproxy().arg("man").output().unwrap());
    // Below an error it is about style: long lines, no date.
    accepted("mandoc", &["-T", "lint", "-W", "error"], &page);
}

#[test]
fn shells_can_read_their_completions() {
    for (shell, args) in [("bash", ["-n"]), ("zsh", ["-n"]), ("fish", ["-n"])] {
        let script = stdout(idemproxy().args(["completions", shell]).output().unwrap());
        for word in ["healthcheck", "completions", "upstream", "log-format"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
        accepted(shell, &args, &script);
    }
}

#[test]
fn bash_completes_commands_and_flags() {
    let script = stdout(idemproxy().args(["completions", "bash"]).output().unwrap());
    let completed = |words: &str, last: usize| {
        let ask = format!(
            "{script}\nCOMP_WORDS=({words}); COMP_CWORD={last}; _idemproxy idemproxy \
             \"${{COMP_WORDS[{last}]}}\" \"${{COMP_WORDS[{last}-1]}}\"; echo \"${{COMPREPLY[@]}}\"",
        );
        stdout(
            Command::new("bash")
                .args(["--norc", "-c", &ask])
                .output()
                .unwrap(),
        )
    };
    assert_eq!(completed("idemproxy heal", 1), "healthcheck\n");
    assert_eq!(completed("idemproxy run --ups", 2), "--upstream\n");
}

#[test]
fn another_shell_is_bad_usage() {
    let output = idemproxy()
        .args(["completions", "command.com"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
}

/// `program` ends with 0 and says nothing when it reads `text`. Where it is not installed, nothing is shown, but in CI it has to be.
fn accepted(program: &str, args: &[&str], text: &str) {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "{program}: {error}");
            eprintln!("{program} is not installed, so it was not asked");
            return;
        }
    };
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(text.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(
        output.status.success() && said.is_empty(),
        "{program}: {said}"
    );
}
