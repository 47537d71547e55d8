//! The configuration file, and the same values from flags.

use idemproxy::config::{Faults, Given, Overrides, Settings, from_toml};

/// Any text is settings, or a list of faults with places inside the text. Neither shows a store's password.
pub(crate) fn holds(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let read = from_toml(FILE, text, &Overrides::default());
    if let Err(faults) = &read {
        for fault in faults.iter() {
            is_inside(&fault.to_string(), text);
        }
    }
    let table: Result<toml::Table, _> = toml::from_str(text);
    // What is shown has no control characters.
    let text = text.replace(char::is_control, "");
    let passwords = text.matches(PASSWORD).count();
    let Ok(table) = table else {
        if text.matches(":hunter2@").count() == passwords {
            is_silent(&read);
        }
        return;
    };
    // Whichever way it is written there.
    let url = table.get("store").and_then(|store| store.get("url"));
    let Some(url) = url.and_then(|url| url.as_str()) else {
        return;
    };
    if passwords <= 1 && carries_password(url) {
        is_silent(&read);
        let given = Overrides {
            store: Some(Given::new("--store", url)),
            ..Overrides::default()
        };
        is_silent(&from_toml("", "", &given));
    }
}

/// `FILE:LINE:COLUMN: …`, on one line.
fn is_inside(fault: &str, text: &str) {
    assert!(!fault.contains(char::is_control), "{fault:?}");
    let mut place = fault.strip_prefix(FILE).unwrap().splitn(4, ':').skip(1);
    let mut number = || place.next().unwrap().parse::<usize>().unwrap();
    let (line, column) = (number(), number());
    let written = text.split('\n').nth(line - 1);
    let columns = written.map_or(0, |written| written.chars().count() + 1);
    assert!(
        (1..=columns).contains(&column),
        "{fault:?} is outside of {text:?}"
    );
}

fn is_silent(read: &Result<Settings, Faults>) {
    let told = match read {
        Ok(settings) => format!("{}{settings:?}", settings.describe()),
        Err(faults) => faults.to_string(),
    };
    assert!(!told.contains(PASSWORD), "{told}");
}

/// Between the scheme and the host, or in the query.
fn carries_password(url: &str) -> bool {
    let in_authority = url.split_once("://").is_some_and(|(_, rest)| {
        let login = rest
            .rsplit_once('@')
            .and_then(|(login, _)| login.split_once(':'));
        login.is_some_and(|(_, password)| password.contains(PASSWORD))
    });
    let in_query = url.split_once("pass=").is_some_and(|(path, password)| {
        path.contains(':') && path.contains('?') && password.contains(PASSWORD)
    });
    in_authority || in_query
}

const FILE: &str = "f.toml";
/// Stands for a password; in a text that has it elsewhere too nothing can be said.
const PASSWORD: &str = "hunter2";
