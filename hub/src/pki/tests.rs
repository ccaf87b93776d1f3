use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use lockstep_proto::ClusterName;
use rcgen::{CertificateParams, KeyPair};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::*;
use crate::transport::PeerIdentity;

const HOUR: Duration = Duration::from_secs(3600);

fn csr(key: &KeyPair) -> Vec<u8> {
    let mut params = CertificateParams::new(vec!["hub.example.com".to_owned()]).unwrap();
    params.insert_extended_key_usage(rcgen::ExtendedKeyUsagePurpose::ServerAuth);
    params.serialize_request(key).unwrap().der().to_vec()
}

fn eu_1() -> PeerIdentity {
    PeerIdentity {
        cluster: ClusterName::new("eu-1").unwrap(),
        identity: "0123456789abcdef".to_owned(),
    }
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn the_authority_is_made_once_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let first = Pki::open(dir.path(), now).unwrap();
    let second = Pki::open(dir.path(), now + HOUR).unwrap();
    assert_eq!(first.ca_pem(), second.ca_pem());
    assert_eq!(first.pin(), second.pin());
    assert_eq!(first.trust_domain(), second.trust_domain());
}

#[test]
fn a_damaged_authority_is_an_error_and_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ca.pem");
    Pki::open(dir.path(), SystemTime::now()).unwrap();
    let whole = std::fs::read_to_string(&path).unwrap();
    let cut = whole.find("-----BEGIN PRIVATE").unwrap();
    std::fs::write(&path, &whole[..cut]).unwrap();
    let error = Pki::open(dir.path(), SystemTime::now()).err().unwrap();
    assert!(error.to_string().contains("ca.pem"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), &whole[..cut]);
}

#[test]
fn an_agents_certificate_says_who_it_is_and_nothing_that_the_request_said() {
    let dir = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let pki = Pki::open(dir.path(), now).unwrap();
    let key = KeyPair::generate().unwrap();
    let issued = pki.issue(&eu_1(), &csr(&key), now).unwrap();
    let der = CertificateDer::from_pem_slice(issued.chain_pem.as_bytes()).unwrap();
    let (_, certificate) = X509Certificate::from_der(&der).unwrap();

    assert_eq!(pki.identity(&certificate), Some(eu_1()));
    let usage = certificate.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.client_auth && !usage.server_auth);
    assert!(!certificate.is_ca());
    let from = u64::try_from(certificate.validity().not_before.timestamp()).unwrap();
    let from = SystemTime::UNIX_EPOCH + Duration::from_secs(from);
    assert!(
        from <= now - HOUR,
        "a clock an hour behind must still accept it"
    );

    let other = tempfile::tempdir().unwrap();
    let other = Pki::open(other.path(), now).unwrap();
    assert_eq!(other.identity(&certificate), None, "another hub's agent");
}

#[test]
fn a_signing_request_must_be_signed_by_its_own_key_and_of_a_type_we_take() {
    let dir = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let pki = Pki::open(dir.path(), now).unwrap();
    for algorithm in [
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_ED25519,
    ] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        pki.issue(&eu_1(), &csr(&key), now).unwrap();
    }
    let rsa = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    assert!(matches!(
        pki.issue(&eu_1(), &csr(&rsa), now),
        Err(CsrError::KeyType)
    ));
    let mut forged = csr(&KeyPair::generate().unwrap());
    let last = forged.len() - 1;
    forged[last] ^= 1;
    assert!(matches!(
        pki.issue(&eu_1(), &forged, now),
        Err(CsrError::Signature | CsrError::Malformed)
    ));
    assert!(matches!(
        pki.issue(&eu_1(), b"junk", now),
        Err(CsrError::Malformed)
    ));
    assert!(matches!(
        pki.issue(&eu_1(), &vec![0; 100_000], now),
        Err(CsrError::TooLarge(100_000))
    ));
}

#[test]
fn the_server_certificate_changes_only_when_it_must() {
    let dir = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let pki = Pki::open(dir.path(), now).unwrap();
    let local = names(&["localhost", "127.0.0.1", "::1"]);
    let first = pki.server(&local, now).unwrap();
    assert_eq!(first.chain.len(), 2);
    assert_eq!(&first.chain[1], pki.ca());

    let again = pki.server(&local, now + HOUR).unwrap();
    assert_eq!(first.chain, again.chain, "same names, a while later");
    let renamed = pki
        .server(&names(&["localhost", "hub.example.com"]), now)
        .unwrap();
    assert_ne!(first.chain, renamed.chain, "other names");
    let later = pki
        .server(&names(&["localhost", "hub.example.com"]), renamed.renew_at)
        .unwrap();
    assert_ne!(renamed.chain, later.chain, "near its end");
    assert!(later.renew_at > renamed.renew_at);
}

#[test]
fn a_server_certificate_of_another_authority_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let local = names(&["localhost"]);
    let first = Pki::open(dir.path(), now)
        .unwrap()
        .server(&local, now)
        .unwrap();
    std::fs::remove_file(dir.path().join("ca.pem")).unwrap();
    let pki = Pki::open(dir.path(), now).unwrap();
    let second = pki.server(&local, now).unwrap();
    assert_ne!(first.chain[0], second.chain[0]);
    assert_eq!(&second.chain[1], pki.ca());
}
