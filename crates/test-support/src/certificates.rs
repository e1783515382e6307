//! Certificates of a day for `localhost`, made by `openssl`.

use std::path::Path;
use std::process::Command;

const EXTENSIONS: &str = "[req]\ndistinguished_name = dn\n[dn]\n\
    [ca]\nbasicConstraints = critical, CA:TRUE\nsubjectKeyIdentifier = hash\n\
    [leaf]\nbasicConstraints = critical, CA:FALSE\nsubjectAltName = DNS:localhost, IP:127.0.0.1\n";

/// Those of an authority, a server and two clients, each as `NAME.pem` with its key in `NAME.key`.
pub fn make(directory: &Path) {
    std::fs::write(directory.join("extensions"), EXTENSIONS).unwrap();
    for (name, subject, section) in [
        ("ca", "/CN=freshmaker test", "ca"),
        ("server", "/CN=localhost", "leaf"),
        ("client", "/CN=guest", "leaf"),
        ("fedora", "/CN=fedora", "leaf"),
    ] {
        let mut command = Command::new("openssl");
        command.current_dir(directory).args(["req", "-x509", "-nodes", "-days", "1", "-newkey", "ec"]);
        command.args(["-pkeyopt", "ec_paramgen_curve:P-256", "-config", "extensions", "-extensions", section]);
        command.args(["-subj", subject, "-keyout", &format!("{name}.key"), "-out", &format!("{name}.pem")]);
        if section == "leaf" {
            command.args(["-CA", "ca.pem", "-CAkey", "ca.key"]);
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "openssl: {}", String::from_utf8_lossy(&output.stderr));
    }
}
