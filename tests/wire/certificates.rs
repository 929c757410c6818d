//! The certificates of one case: a "system" authority, one private authority for each `ca_file`, a
//! rogue one that nobody trusts, and client pairs whose subject is the path of their file.

use std::collections::BTreeMap;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Who signs the certificate that a host shows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Signer {
    /// The authority that the daemon finds in `SSL_CERT_FILE`.
    System,
    /// The authority in this `ca_file`: the host is reached only by who was told of the file.
    Private(String),
    /// An authority that nobody knows: the host is reached only with verification skipped.
    Rogue,
}

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new(name: &str) -> Authority {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Authority {
            issuer: Issuer::new(params, key),
            pem,
        }
    }
}

/// Everything that was signed for one case.
pub(crate) struct Certificates {
    system: Authority,
    rogue: Authority,
    private: BTreeMap<String, Authority>,
    /// One key for every leaf: only who signed them matters.
    leaf_key: KeyPair,
    /// Client certificates by what goes over the wire, and the path of their file.
    subjects: Vec<(Vec<u8>, String)>,
    /// What the files of client pairs hold.
    clients: BTreeMap<String, String>,
}

impl Certificates {
    pub(crate) fn new() -> Certificates {
        Certificates {
            system: Authority::new("system"),
            rogue: Authority::new("rogue"),
            private: BTreeMap::new(),
            leaf_key: KeyPair::generate().unwrap(),
            subjects: Vec::new(),
            clients: BTreeMap::new(),
        }
    }

    pub(crate) fn system_pem(&self) -> &str {
        &self.system.pem
    }

    /// The text of the authority at this path, made when it is first asked for.
    pub(crate) fn authority_pem(&mut self, path: &str) -> &str {
        &self
            .private
            .entry(path.to_string())
            .or_insert_with(|| Authority::new(path))
            .pem
    }

    /// Makes the pair of these two files, unless one of them is there already.
    pub(crate) fn client_pair(&mut self, certificate: &str, key: &str) {
        if self.clients.contains_key(certificate) || self.clients.contains_key(key) {
            return;
        }
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, certificate);
        let pair = KeyPair::generate().unwrap();
        let signed = params.self_signed(&pair).unwrap();
        self.subjects
            .push((signed.der().to_vec(), certificate.to_string()));
        if certificate == key {
            self.clients.insert(
                key.to_string(),
                format!("{}{}", signed.pem(), pair.serialize_pem()),
            );
        } else {
            self.clients.insert(certificate.to_string(), signed.pem());
            self.clients.insert(key.to_string(), pair.serialize_pem());
        }
    }

    /// What the file of a client pair at this path holds.
    pub(crate) fn client_pem(&self, path: &str) -> Option<&str> {
        self.clients.get(path).map(String::as_str)
    }

    /// The subject of a client certificate that a daemon has sent.
    pub(crate) fn subject(&self, certificate: &[u8]) -> String {
        self.subjects
            .iter()
            .find(|(known, _)| known == certificate)
            .map_or_else(
                || "a certificate of unknown origin".to_string(),
                |(_, name)| name.clone(),
            )
    }

    /// A certificate for a host name or address, and its key.
    pub(crate) fn leaf(
        &self,
        names: &[String],
        signer: &Signer,
    ) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let authority = match signer {
            Signer::System => &self.system,
            Signer::Rogue => &self.rogue,
            Signer::Private(path) => &self.private[path],
        };
        let params = CertificateParams::new(names.to_vec()).unwrap();
        let leaf = params.signed_by(&self.leaf_key, &authority.issuer).unwrap();
        let key = PrivateKeyDer::try_from(self.leaf_key.serialize_der()).unwrap();
        (leaf.der().clone(), key)
    }
}
