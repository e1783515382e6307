//! The contract suite of storages, against the one in memory.

use freshmaker::memory::MemoryStorage;
use freshmaker_testing::conformance;

#[tokio::test]
async fn memory_keeps_the_contract() {
    conformance::storage(async |clock| MemoryStorage::new().with_clock(clock)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_keeps_the_contract_on_several_threads() {
    conformance::storage(async |clock| MemoryStorage::new().with_clock(clock)).await;
}

#[tokio::test]
async fn several_partitions_keep_the_contract() {
    conformance::storage(async |clock| MemoryStorage::new().with_clock(clock).with_partitions(4)).await;
}
