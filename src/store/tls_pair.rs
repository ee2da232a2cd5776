//! The listener's certificate and key, in PEM. Called by `proxy::tls` and, for the certificate
//! alone, by the commands that ask a running proxy.
//! Invariants: the key is read as every other secret is; an error names file and reason, never a
//! byte of the key.

use crate::{model::refusal::Refusal, sys::private_file};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls::{
    InconsistentKeys,
    crypto::ring::sign::any_supported_type,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    sign::{CertifiedKey, SigningKey},
};
use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
};
use zeroize::Zeroizing;

/// The longest certificate file that is read.
const LONGEST: u64 = 1024 * 1024;

/// Where certificate and key are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, then those that signed it.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Reads both files; `home` as in [`private_file::read`].
///
/// # Errors
/// `CONFIG_ERROR`: a file that is missing, unreadable, open to others (the key) or not PEM, or
/// two that do not belong together.
pub fn load(files: &TlsFiles, home: Option<&Path>) -> Result<CertifiedKey, Refusal> {
    let chain = certificates(&files.cert)?;
    let key = private_key(&files.key, home)?;
    let pair = CertifiedKey::new(chain, key);
    match pair.keys_match() {
        // Some keys do not say what their public half is; the handshake will.
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(pair),
        Err(rustls::Error::InconsistentKeys(_)) => Err(Refusal::config(format!(
            "the key in `{}` is not that of the certificate in `{}`",
            files.key.display(),
            files.cert.display()
        ))
        .hint("replace both files; the server's own certificate stands first in its file")),
        // SECURITY: these texts are about the certificate, which is public.
        Err(error) => Err(wrong(&files.cert, &format!("is not usable: {error}"))),
    }
}

/// The certificates of a file, in its order.
///
/// # Errors
/// `CONFIG_ERROR`: missing, unreadable, not PEM, or no certificate in it.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Refusal> {
    let failed = |error: io::Error| {
        Refusal::config(format!("`{}`: {}", path.display(), error.kind()))
            .hint("name the certificate in PEM with --tls-cert FILE")
    };
    // Before it is opened: opening a pipe would wait for whoever writes to it.
    if !path.metadata().map_err(failed)?.is_file() {
        return Err(wrong(path, "is not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(LONGEST + 1).read_to_end(&mut bytes))
        .map_err(failed)?;
    if bytes.len() as u64 > LONGEST {
        return Err(wrong(path, "is larger than 1 MiB"));
    }
    let chain = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| wrong(path, "is not valid PEM"))?;
    if chain.is_empty() {
        return Err(wrong(path, "holds no certificate (`-----BEGIN CERTIFICATE-----`)"));
    }
    Ok(chain)
}

fn private_key(path: &Path, home: Option<&Path>) -> Result<Arc<dyn SigningKey>, Refusal> {
    let pem =
        private_file::read(path, home).map_err(|error| error.refusal())?.ok_or_else(|| {
            Refusal::config(format!("`{}` does not exist", path.display()))
                .hint("name the private key in PEM (mode 0600) with --tls-key FILE")
        })?;
    let Some(der) = der(&pem) else {
        if pem.windows(9).any(|window| window == b"ENCRYPTED") {
            return Err(wrong_key(path, "is encrypted").hint(format!(
                "decrypt it: openssl pkey -in {} -out FILE; then chmod 600 FILE",
                path.display()
            )));
        }
        return Err(wrong_key(path, "holds no private key in PEM"));
    };
    PrivateKeyDer::try_from(der.as_slice())
        .ok()
        .and_then(|key| any_supported_type(&key).ok())
        .ok_or_else(|| {
            wrong_key(path, "is a key of an unknown kind; RSA, ECDSA and Ed25519 are known")
        })
}

/// The first private key of a PEM text (RFC 7468).
/// SECURITY: by hand, since the parser of the certificates leaves the key's lines in freed memory.
fn der(pem: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut lines = std::str::from_utf8(pem).ok()?.lines().map(str::trim);
    let label = lines
        .find_map(|line| line.strip_prefix("-----BEGIN ")?.strip_suffix("PRIVATE KEY-----"))
        .filter(|label| *label != "ENCRYPTED ")?;
    let end = format!("-----END {label}PRIVATE KEY-----");
    // All the room at once: what grows leaves its former place as it was.
    let mut body = Zeroizing::new(String::with_capacity(pem.len()));
    loop {
        match lines.next()? {
            line if line == end => break,
            line => body.push_str(line),
        }
    }
    let mut der = Zeroizing::new(Vec::with_capacity(pem.len()));
    STANDARD.decode_vec(body.as_bytes(), &mut der).ok()?;
    Some(der)
}

fn wrong(path: &Path, what: &str) -> Refusal {
    Refusal::config(format!("`{}` {what}", path.display()))
        .hint(format!("look at it: openssl x509 -noout -subject -in {}", path.display()))
}

fn wrong_key(path: &Path, what: &str) -> Refusal {
    Refusal::config(format!("`{}` {what}", path.display()))
        .hint(format!("look at it: openssl pkey -noout -in {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::PermissionsExt as _};

    fn files(dir: &Path) -> TlsFiles {
        TlsFiles { cert: dir.join("cert.pem"), key: dir.join("key.pem") }
    }

    fn write(path: &Path, text: &str) {
        fs::write(path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn made() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn a_pair_is_read_and_what_is_wrong_is_named_without_the_key() {
        let dir = tempfile::tempdir().unwrap();
        let files = files(dir.path());
        let (cert, key) = made();
        let secret = key.lines().nth(1).unwrap().to_owned();
        let error = |cert: &str, key: &str| {
            write(&files.cert, cert);
            write(&files.key, key);
            let refusal = load(&files, None).unwrap_err();
            assert!(!format!("{refusal:?}").contains(&secret[..20]), "{refusal:?}");
            assert!(refusal.hint.is_some(), "{refusal:?}");
            refusal.message
        };
        assert!(load(&files, None).unwrap_err().message.contains("cert.pem`: entity not found"));
        write(&files.cert, &cert);
        assert!(load(&files, None).unwrap_err().message.ends_with("key.pem` does not exist"));
        for (cert, key, said) in [
            (String::new(), key.clone(), "cert.pem` holds no certificate"),
            (
                format!("{cert}-----BEGIN CERTIFICATE-----\n{secret}\n"),
                key.clone(),
                "not valid PEM",
            ),
            (cert.replace("MII", "AAA"), key.clone(), "cert.pem` is not usable"),
            (cert.clone(), String::new(), "key.pem` holds no private key"),
            (cert.clone(), key.replace("-----END", "----END"), "key.pem` holds no private key"),
            (cert.clone(), cert.clone(), "key.pem` holds no private key"),
            (cert.clone(), key.replace("BEGIN ", "BEGIN ENCRYPTED "), "key.pem` is encrypted"),
            (cert.clone(), key.replace("MIG", "AAA"), "a key of an unknown kind"),
            (cert.clone(), made().1, "is not that of the certificate"),
            ("x".repeat(1024 * 1024 + 1), key.clone(), "larger than 1 MiB"),
        ] {
            let message = error(&cert, &key);
            assert!(message.contains(said), "{said}: {message}");
        }
        write(&files.cert, &cert);
        write(&files.key, &key);
        assert_eq!(load(&files, None).unwrap().cert.len(), 1);
        fs::set_permissions(&files.key, fs::Permissions::from_mode(0o644)).unwrap();
        let refusal = load(&files, None).unwrap_err();
        assert!(refusal.message.contains("open to group or others"), "{refusal}");
        let folder = TlsFiles { cert: dir.path().to_path_buf(), ..files };
        assert!(load(&folder, None).unwrap_err().message.contains("not a regular file"));
    }
}
