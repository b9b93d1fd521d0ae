//! Every command explains itself, with an example.

use super::diptych;

/// The commands that `diptych --help` lists.
fn commands() -> Vec<String> {
    let output = diptych().arg("--help").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let listed =
        text.split("Commands:").nth(1).expect("a list of commands").split("Options:").next().unwrap_or_default();
    let listed = listed.split("Global options:").next().unwrap_or_default();
    let names = listed.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).filter(|name| name != "help").collect()
}

#[test]
fn every_command_has_help_with_an_example() {
    let commands = commands();
    assert!(commands.len() > 5, "{commands:?}");
    for command in commands {
        let output = diptych().args([&command, "--help"]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{command}");
        assert!(text.contains("Usage: diptych"), "{command}: {text}");
        let groups = text.contains("\nCommands:\n");
        assert!(
            groups || text.contains(&format!("diptych {command}")) && text.contains("Example"),
            "{command}: {text}"
        );
        assert!(text.contains("--json") && text.contains("--data"), "{command} lacks the global options");
    }
}

#[test]
fn wrong_usage_is_2_and_says_why() {
    for args in [&["nonsense"][..], &["lint"], &["lint", "--nonsense", "x"], &[], &["--threads", "0", "lint", "x"]] {
        let output = diptych().args(args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(!output.stderr.is_empty(), "{args:?}");
    }
}

#[test]
fn a_failure_is_1_and_names_the_file() {
    let output = diptych().args(["lint", "/nowhere/graphs.json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("/nowhere/graphs.json"), "{text}");
}
