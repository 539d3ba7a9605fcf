//! Secrets that are not to be had, by way of the program: every one is named with what to do, none is shown, and no server is asked.
//! Deliberately absent: what becomes of those that are.
#![expect(clippy::unwrap_used, reason = "a test may panic")]
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

const VALUE: &str = "sentinel-4f1c";
/// Nobody listens there.
const INVENTORY: &str = "[nginx]\nimage = \"nginx\"\n\n[servers.a]\naddress = \"127.0.0.1\"\nport = 1\nuser = \"u\"\nzone = \"here\"\n";

/// A service with these secrets, each with its line in `[secrets]` where it has one.
fn playbook(secrets: &[(&str, &str)]) -> String {
    let names: Vec<String> = secrets.iter().map(|(name, _)| format!("{name:?}")).collect();
    let sources: String =
        secrets.iter().filter(|(_, from)| !from.is_empty()).map(|(name, from)| format!("{name} = {{ {from} }}\n")).collect();
    format!(
        "[project]\nname = \"shop\"\nversion = \"1\"\ndefault_env = \"prod\"\n\n[secrets]\n{sources}\n[services.api]\nimage = \"x\"\nport = 80\nsecrets = [{}]\n",
        names.join(", ")
    )
}

/// The exit code of a deploy, and all that it says, which is no value.
fn deploy(folder: &Path, secrets: &[(&str, &str)]) -> (Option<i32>, String) {
    fs::write(folder.join("playbook.toml"), playbook(secrets)).unwrap();
    run(folder)
}

fn run(folder: &Path) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_flipside"))
        .args(["--state-dir", "state", "-p", "playbook.toml", "-i", "inventory.toml", "deploy", "-y"])
        .current_dir(folder)
        .env_remove("SSH_AUTH_SOCK")
        .env_remove("UNSET")
        .env("HOME", folder)
        .env("EMPTY", "")
        .env("GIVEN", VALUE)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(!text.contains(VALUE), "{text}");
    (output.status.code(), text)
}

fn write(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn every_secret_that_is_not_to_be_had_is_named_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    write(&folder.join("inventory.toml"), INVENTORY, 0o644);
    write(&folder.join("shared"), VALUE, 0o640);
    write(&folder.join("own"), VALUE, 0o600);
    write(&folder.join("fails"), &format!("echo {VALUE}; echo no luck with {VALUE} >&2; exit 3"), 0o644);
    let secrets = folder.join("secrets/prod");
    fs::create_dir_all(&secrets).unwrap();
    write(&secrets.join("mine"), VALUE, 0o600);
    write(&secrets.join("ours"), VALUE, 0o604);
    let everything = [
        ("mine", ""),
        ("ours", ""),
        ("none", ""),
        ("shared", "file = \"shared\""),
        ("away", "file = \"away\""),
        ("folder", "file = \"secrets\""),
        ("unset", "env = \"UNSET\""),
        ("empty", "env = \"EMPTY\""),
        ("fails", "command = [\"sh\", \"fails\"]"),
        ("quiet", "command = [\"true\"]"),
        ("nowhere", "command = [\"./nowhere\"]"),
        ("large", "command = [\"head\", \"-c\", \"524289\", \"/dev/zero\"]"),
    ];

    // The folder that others may look into is no place for a secret, whatever the file's own mode.
    fs::set_permissions(&secrets, Permissions::from_mode(0o755)).unwrap();
    let (exit, text) = deploy(folder, &everything);
    assert_eq!(exit, Some(2), "{text}");
    for name in ["mine", "ours", "none"] {
        assert!(
            text.contains(&format!("secret {name}: ./secrets/prod can be read by others (mode 755): chmod 700 ./secrets/prod")),
            "{text}"
        );
    }

    fs::set_permissions(&secrets, Permissions::from_mode(0o700)).unwrap();
    let (exit, text) = deploy(folder, &everything);
    assert_eq!(exit, Some(2), "{text}");
    for wanted in [
        "secret ours: ./secrets/prod/ours can be read by others (mode 604): chmod 600 ./secrets/prod/ours",
        "secret none: there is no file ./secrets/prod/none: make it with mode 600",
        "secret shared: ./shared can be read by others (mode 640): chmod 600 ./shared",
        "secret away: there is no file ./away: make it with mode 600",
        "secret folder: ./secrets is not a file",
        "secret unset: the variable UNSET is not set",
        "secret empty: the variable EMPTY gives an empty value",
        "secret fails: `sh fails` failed (exit status: 3): no luck with [secret]",
        "secret quiet: `true` gives an empty value",
        "secret nowhere: `./nowhere` cannot be started: No such file",
        "secret large: `head -c 524289 /dev/zero` gives more than 512 KiB",
    ] {
        assert!(text.contains(wanted), "\"{wanted}\" was not said:\n{text}");
    }
    assert!(!text.contains("secret mine") && !text.contains("127.0.0.1"), "{text}");

    // All there: now the server is asked.
    let given = [("mine", ""), ("own", "file = \"own\""), ("given", "env = \"GIVEN\""), ("said", "command = [\"cat\", \"own\"]")];
    let (exit, text) = deploy(folder, &given);
    assert!(exit == Some(4) && text.contains("nothing was changed on any server"), "{exit:?}: {text}");
}

/// What certbot writes: everybody may read the certificate, which everybody is shown anyway. Never a key, nor what an app is given.
#[test]
fn a_certificate_may_be_read_by_others_and_its_key_may_not() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path();
    write(&folder.join("inventory.toml"), INVENTORY, 0o644);
    write(&folder.join("cert.pem"), VALUE, 0o644);
    let tls = "[\"cert\"]\nprotocol = \"http\"\nproxy = { hosts = [\"a.example.com\"], tls = { certificate = \"cert\", key = \"key\" } }\n";
    let files = [("cert", "file = \"cert.pem\""), ("key", "file = \"key.pem\"")];
    let deploy = |secrets: &str, key_mode: u32| {
        write(&folder.join("key.pem"), VALUE, key_mode);
        let text = playbook(&files).replace("[\"cert\", \"key\"]\n", &tls.replacen("[\"cert\"]", secrets, 1));
        assert!(text.contains("certificate = "), "{text}");
        fs::write(folder.join("playbook.toml"), text).unwrap();
        run(folder)
    };
    let (exit, text) = deploy("[]", 0o600);
    assert!(exit == Some(4) && !text.contains("secret "), "{exit:?}: {text}");
    let (exit, text) = deploy("[]", 0o644);
    assert!(
        exit == Some(2) && text.contains("secret key: ./key.pem can be read by others") && !text.contains("secret cert"),
        "{exit:?}: {text}"
    );
    let (exit, text) = deploy("[\"cert\"]", 0o600);
    assert!(exit == Some(2) && text.contains("secret cert: ./cert.pem can be read by others"), "{exit:?}: {text}");
}
