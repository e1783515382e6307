//! The contract suite of storages, against the one in memory.

use freshmaker::memory::MemoryStorage;
use freshmaker_testing::conformance;

#[tokio::test]
async fn memory_keeps_the_contract() {
    conformance::storage(async || MemoryStorage::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_keeps_the_contract_on_several_threads() {
    conformance::storage(async || MemoryStorage::new()).await;
}
