//! Whom to believe: the system's certificate bundle, `certs.d`, Mozilla's roots as the last resort; and which registries may be
//! spoken to without.

use crate::base::time::Time;
use crate::base::{Context, Error, Result};
use crate::registry::url::{Url, split_port};
use crate::wire::worker::Registries;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Where systems keep their bundle, after what SSL_CERT_FILE says.
const BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// May the registry be spoken to in plain http, or with any certificate? Loopback may, and what the settings name.
pub fn is_insecure(domain: &str, settings: &Registries) -> bool {
    let Some((host, _)) = split_port(domain, 443) else { return false };
    let ip: Option<IpAddr> = host.parse().ok();
    if host == "localhost" || ip.is_some_and(|ip| ip.is_loopback()) {
        return true;
    }
    settings.insecure.iter().any(|rule| {
        let rule = rule.trim_start_matches("http://").trim_start_matches("https://").trim_end_matches('/');
        rule.eq_ignore_ascii_case(domain) || rule.eq_ignore_ascii_case(&host) || ip.is_some_and(|ip| in_network(ip, rule))
    })
}

/// Is the address in `network` (`10.0.0.0/8`, `fd00::/8`, or one address)?
pub fn in_network(ip: IpAddr, network: &str) -> bool {
    let (base, bits) = match network.split_once('/') {
        Some((base, bits)) => (base, bits.parse::<u32>().ok()),
        None => (network, Some(128)),
    };
    let (Ok(base), Some(bits)) = (base.parse::<IpAddr>(), bits) else { return false };
    match (ip, base) {
        (IpAddr::V4(ip), IpAddr::V4(base)) => {
            let mask = u32::MAX.checked_shl(32u32.saturating_sub(bits)).unwrap_or(0);
            u32::from(ip) & mask == u32::from(base) & mask
        }
        (IpAddr::V6(ip), IpAddr::V6(base)) => {
            let mask = u128::MAX.checked_shl(128u32.saturating_sub(bits)).unwrap_or(0);
            u128::from(ip) & mask == u128::from(base) & mask
        }
        _ => false,
    }
}

/// TLS settings for a server. `registry` is the folder of the registry that sends us there (its token server, its storage): as in
/// Docker, the authorities that vouch for a registry vouch for these too; its client certificate stays with it.
pub fn client_config(url: &Url, settings: &Registries, registry: Option<&Path>) -> Result<Arc<rustls::ClientConfig>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_details(provider.clone(), Arc::new(Clock))
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::internal(format!("tls: {e}")))?;
    let folder = certs_folder(url, settings);
    let authority = format!("{}:{}", url.host, url.port);
    let builder = if is_insecure(&url.authority(), settings) || is_insecure(&authority, settings) {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone(provider)))
    } else {
        builder.with_root_certificates(roots(folder.as_deref().or(registry))?)
    };
    let mut config = match folder.as_deref().map(client_certificate).transpose()?.flatten() {
        Some((chain, key)) => {
            builder.with_client_auth_cert(chain, key).map_err(|e| Error::invalid(format!("client certificate: {e}")))?
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // One connection at a time to one or two servers: nothing to resume.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

/// The time that certificates are held against. std's own clock ends in 2038 on 32-bit machines, and the process with it.
#[derive(Debug)]
struct Clock;

impl rustls::time_provider::TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from(Time::now().seconds()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

/// `certs.d/<host:port>` or `certs.d/<host>`, if it is there.
pub fn certs_folder(url: &Url, settings: &Registries) -> Option<PathBuf> {
    if settings.certs_dir.is_empty() {
        return None;
    }
    let base = Path::new(&settings.certs_dir);
    let with_port = base.join(format!("{}:{}", url.host, url.port));
    [with_port, base.join(url.authority())].into_iter().find(|folder| folder.is_dir())
}

fn roots(folder: Option<&Path>) -> Result<rustls::RootCertStore> {
    let mut store = rustls::RootCertStore::empty();
    let named = std::env::var("SSL_CERT_FILE").ok().filter(|f| !f.is_empty());
    let bundle = match &named {
        Some(file) => Some(PathBuf::from(file)),
        None => BUNDLES.iter().map(PathBuf::from).find(|f| f.exists()),
    };
    if let Some(bundle) = bundle {
        match add_file(&mut store, &bundle) {
            Ok(()) => {}
            Err(e) if named.is_some() => return Err(e),
            Err(e) => log::warn!("{e}"),
        }
    }
    if store.is_empty() {
        store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    if let Some(folder) = folder {
        for file in list(folder, "crt")? {
            add_file(&mut store, &file)?;
        }
    }
    Ok(store)
}

fn add_file(store: &mut rustls::RootCertStore, file: &Path) -> Result<()> {
    let bad = |e: rustls::pki_types::pem::Error| Error::invalid(format!("certificates in {}: {e}", file.display()));
    for certificate in CertificateDer::pem_file_iter(file).map_err(bad)? {
        // Bundles have the odd certificate that is no authority's; it helps nobody.
        let _ = store.add(certificate.map_err(bad)?);
    }
    Ok(())
}

fn list(folder: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let read = std::fs::read_dir(folder).context(|| format!("list {}", folder.display()))?;
    let mut files: Vec<PathBuf> =
        read.flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == extension)).collect();
    files.sort();
    Ok(files)
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// `x.cert` with `x.key`, as Docker has it.
fn client_certificate(folder: &Path) -> Result<Option<Identity>> {
    let Some(file) = list(folder, "cert")?.into_iter().next() else { return Ok(None) };
    let bad = |e: rustls::pki_types::pem::Error| Error::invalid(format!("client certificate {}: {e}", file.display()));
    let chain = CertificateDer::pem_file_iter(&file).map_err(bad)?.collect::<std::result::Result<Vec<_>, _>>().map_err(bad)?;
    let key = file.with_extension("key");
    let key = PrivateKeyDer::from_pem_file(&key)
        .map_err(|e| Error::invalid(format!("missing key {} for client certificate: {e}", key.display())))?;
    Ok(Some((chain, key)))
}

/// For registries that the administrator called insecure: any certificate will do, but signatures are still checked.
#[derive(Debug)]
struct Anyone(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_insecure() {
        let settings = Registries { insecure: vec!["reg.local:5000".into(), "10.0.0.0/8".into()], ..Registries::default() };
        for yes in ["127.0.0.1:5000", "localhost:5000", "localhost", "[::1]:5000", "reg.local:5000", "10.1.2.3:5000"] {
            assert!(is_insecure(yes, &settings), "{yes}");
        }
        for no in ["docker.io", "reg.local", "11.1.2.3:5000", "[fd00::1]:5000"] {
            assert!(!is_insecure(no, &settings), "{no}");
        }
        assert!(in_network("fd00::5".parse().unwrap(), "fd00::/8") && !in_network("fe00::5".parse().unwrap(), "fd00::/8"));
        assert!(in_network("1.2.3.4".parse().unwrap(), "0.0.0.0/0"));
    }
}
