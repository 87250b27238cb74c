//! Two apps that want one address.

mod common;

use common::{APP, free_port, life};
use rpm_model::{AppId, SocketMode};
use rpm_share::{Owner, Ports, Want};

const OTHER: AppId = AppId(77);

#[test]
fn an_address_belongs_to_the_app_that_had_it_first() {
    let want = Want::parse(&format!("127.0.0.1:{}", free_port())).unwrap();
    let mut ports = Ports::new();
    let _claim = ports.claim(life(0, 1), APP, &want, SocketMode::Reuseport).unwrap();
    let refused = ports.claim(life(1, 1), OTHER, &want, SocketMode::Reuseport).unwrap_err();
    assert_eq!(refused.owner, Some(Owner::App(APP)));
}

#[test]
fn apps_that_share_are_one_group_which_outlives_the_first() {
    for mode in [SocketMode::Reuseport, SocketMode::Shared] {
        let want = Want::parse(&format!("127.0.0.1:{}", free_port())).unwrap();
        let (first, second) = (life(0, 1), life(1, 1));
        let mut ports = Ports::new();
        ports.share_between_apps(true);
        let _first = ports.claim(first, APP, &want, mode).unwrap();
        let _second = ports.claim(second, OTHER, &want, mode).unwrap();
        ports.admit(first);
        ports.admit(second);
        ports.ended(first);
        ports.close(first.worker);
        ports.close_app(APP);
        assert_eq!(ports.probe_paths(second).len(), 1, "{mode:?}: the second listens on");
        let _third = ports.claim(life(2, 1), APP, &want, mode).unwrap();
        for worker in [second.worker, life(2, 1).worker] {
            ports.close(worker);
        }
        assert!(std::net::TcpListener::bind(want.to_string()).is_ok(), "{mode:?}: nobody has it any more");
    }
}
