//! The shared store while its servers replace each other: under Sentinels, and as a cluster.

use crate::support::redis_cluster::Cluster;
use crate::support::redis_sentinels::Sentinels;

#[test]
fn the_sentinels_of_the_tests_replace_a_killed_primary() {
    let mut set = Sentinels::start();
    assert_eq!(set.urls().len(), 3);
    assert_eq!(set.primary(), Some(0));
    set.kill(0);
    let primary = set.wait_for_another_than(0);
    assert!(primary == 1 || primary == 2);
    set.restart(0);
    assert!(set.node(0).is_running());
    assert!(set.sentinel(0).is_running());
    assert_ne!(set.fail_over(), primary);
}

#[test]
fn the_cluster_of_the_tests_replaces_a_killed_primary() {
    let mut cluster = Cluster::start(1);
    assert_eq!(cluster.urls().len(), 6);
    let first = cluster.primary_of(7).unwrap();
    assert!(first < 3);
    cluster.kill(first);
    let second = cluster.wait_for_another_than(first, 7);
    assert_eq!(second, first + 3);
    cluster.restart(first);
    cluster.wait_until_well();
    cluster.promote(first);
    assert_eq!(cluster.wait_for_another_than(second, 7), first);
}
