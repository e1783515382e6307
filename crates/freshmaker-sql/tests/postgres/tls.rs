//! TLS, on a server of its own whose certificate is verified.

use freshmaker::backend::{Remedy, Storage, StorageReads, StorageUpkeep};
use freshmaker::rebuild::{Commit, RowChange};
use freshmaker_sql::{PostgresConfig, PostgresStorage};
use test_support::postgres::Cluster;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_verified_before_it_gets_a_password() {
    let directory = tempfile::tempdir().unwrap();
    test_support::certificates::make(directory.path());
    let file = |name: &str| directory.path().join(name);
    let Some(cluster) = Cluster::start_with_tls(&file("server.pem"), &file("server.key")) else { return };
    let config = |host: &str| {
        let mut config = PostgresConfig::new(format!("postgresql://freshmaker@{host}:{}/postgres", cluster.port));
        config.ca = Some(file("ca.pem"));
        config
    };
    let storage = PostgresStorage::new(&config("localhost")).unwrap();
    assert!(storage.check().await.unwrap().tls);
    storage.migrate().await.unwrap();
    storage.commit(Commit::unfenced(vec![RowChange::Receive(crate::place::message(1))])).await.unwrap();
    assert_eq!(storage.overview().await.unwrap().messages_waiting, 1);

    let mut unknown = config("localhost");
    unknown.ca = Some(file("server.pem"));
    for (config, why) in [(unknown, "certificate"), (config("127.0.0.2"), "certificate")] {
        let error = PostgresStorage::new(&config).unwrap().check().await.unwrap_err();
        assert_eq!(error.remedy, Remedy::Unavailable, "{error}");
        assert!(error.to_string().contains(why), "{error}");
    }
}
