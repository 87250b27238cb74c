//! A daemon that dies between any two messages to the keeper finds every slot where the kernel has it.

mod common;

use std::net::TcpStream;

use common::{APP, Keeper, free_port, life};
use rpm_model::{Life, SocketMode, WorkerId};
use rpm_share::{Claim, Ports, Want};
use rpm_sys::net::listen::accept_waiting;

#[derive(Debug, Clone, Copy)]
enum Step {
    /// A process starts and claims.
    Claim(Life),
    Admit(Life),
    Retire(Life),
    /// Its process is gone.
    Ended(Life),
    Release(Life),
    Close(u32),
}

/// Starts, a roll, a crash with inheritance, a scale down, a stop.
fn story() -> Vec<Step> {
    use Step::{Admit, Claim, Close, Ended, Release, Retire};
    let mut story = Vec::new();
    for worker in 0..3 {
        story.extend([Claim(life(worker, 1)), Admit(life(worker, 1))]);
    }
    for worker in 0..2 {
        let (old, new) = (life(worker, 1), life(worker, 2));
        story.extend([Claim(new), Admit(new), Retire(old), Ended(old), Release(old)]);
    }
    story.extend([Ended(life(2, 1)), Claim(life(2, 2)), Admit(life(2, 2))]);
    story.extend([Retire(life(0, 2)), Ended(life(0, 2)), Close(0)]);
    story.extend([Claim(life(3, 1)), Admit(life(3, 1))]);
    for worker in 1..4 {
        let last = life(worker, if worker == 3 { 1 } else { 2 });
        story.extend([Ended(last), Close(worker)]);
    }
    story
}

/// Everything that outlives the daemon.
struct World {
    ports: Ports,
    keeper: Keeper,
    port: u16,
    /// Running processes with their sockets.
    running: Vec<(Life, Option<Claim>)>,
    admitted: Vec<Life>,
}

impl World {
    fn new() -> Self {
        Self { ports: Ports::new(), keeper: Keeper::default(), port: free_port(), running: vec![], admitted: vec![] }
    }

    fn take(&mut self, step: Step) -> Option<Claim> {
        match step {
            Step::Claim(life) => {
                if !self.running.iter().any(|(running, _)| *running == life) {
                    self.running.push((life, None));
                }
                let want = Want::parse(&self.port.to_string()).unwrap();
                return Some(self.ports.claim(life, APP, &want, SocketMode::Reuseport).unwrap());
            }
            Step::Admit(life) => {
                self.admitted.push(life);
                self.ports.admit(life);
            }
            Step::Retire(life) => {
                self.admitted.retain(|admitted| *admitted != life);
                self.ports.retire(life);
            }
            Step::Ended(life) => {
                self.running.retain(|(running, _)| *running != life);
                self.admitted.retain(|admitted| *admitted != life);
                self.ports.ended(life);
            }
            Step::Release(life) => self.ports.release(life),
            Step::Close(worker) => self.ports.close(WorkerId(worker)),
        }
        None
    }

    /// Takes a step of which only the first `told` messages reach the keeper; returns how many there are.
    fn step(&mut self, step: Step, told: usize) -> usize {
        let claim = self.take(step);
        let changes: Vec<_> = self.ports.changes().collect();
        let count = changes.len();
        for change in changes.into_iter().take(told) {
            self.keeper.carry_out(change);
        }
        // The worker gets its socket when the keeper has been told everything.
        if let (Some(claim), Step::Claim(life), true) = (claim, step, told >= count) {
            let (_, socket) = self.running.iter_mut().find(|(running, _)| *running == life).unwrap();
            *socket = Some(claim);
        }
        count
    }

    fn die_and_come_back(&mut self) {
        self.ports = Ports::new();
        let lives: Vec<_> = self.running.iter().map(|(life, _)| (*life, APP)).collect();
        self.ports = Ports::restore(self.keeper.hand_back(), &lives);
        for life in &self.admitted {
            self.ports.admit(*life);
        }
        for change in self.ports.changes() {
            self.keeper.carry_out(change);
        }
    }

    /// Every process that has a socket is reached by its probe; others' connections reach the admitted only.
    fn check(&self) {
        let serving: Vec<_> = self.running.iter().filter_map(|(life, claim)| Some((*life, claim.as_ref()?))).collect();
        for (life, claim) in &serving {
            let path = self.ports.probe_paths(*life)[0];
            let probe = connect_from(path.source.unwrap(), path.to);
            assert!(accept_waiting(&claim.fd).unwrap().is_some(), "the probe of {life} did not reach it");
            drop(probe);
        }
        if self.admitted.is_empty() {
            return;
        }
        let _open: Vec<_> = (0..12).map(|_| TcpStream::connect(("127.0.0.1", self.port)).unwrap()).collect();
        let mut reached = 0;
        for (life, claim) in &serving {
            let mut own = 0;
            while accept_waiting(&claim.fd).unwrap().is_some() {
                own += 1;
            }
            assert!(own == 0 || self.admitted.contains(life), "{life} is not admitted");
            reached += own;
        }
        assert_eq!(reached, 12, "a connection reached a slot that nobody serves");
    }
}

fn connect_from(source: std::net::Ipv4Addr, to: std::net::SocketAddr) -> std::os::fd::OwnedFd {
    rpm_sys::net::begin_connection(Some(source), to).unwrap()
}

#[test]
fn the_daemon_may_die_between_any_two_messages() {
    let story = story();
    let mut tried = 0;
    for died_at in 0..story.len() {
        for told in 0.. {
            let mut world = World::new();
            for step in &story[..died_at] {
                world.step(*step, usize::MAX);
                world.check();
            }
            let count = world.step(story[died_at], told);
            world.die_and_come_back();
            world.check();
            // The daemon does again what it had not finished, and goes on.
            for step in &story[died_at..] {
                world.step(*step, usize::MAX);
                world.check();
            }
            assert!(world.keeper.0.is_empty(), "{:?}", world.keeper.0.keys());
            assert!(TcpStream::connect(("127.0.0.1", world.port)).is_err());
            tried += 1;
            if told >= count {
                break;
            }
        }
    }
    assert!(tried > 40, "{tried}");
}

#[test]
fn an_inherited_slot_keeps_what_waits_in_it_over_the_death_of_the_daemon() {
    let mut world = World::new();
    world.step(Step::Claim(life(0, 1)), usize::MAX);
    world.step(Step::Admit(life(0, 1)), usize::MAX);
    let _open: Vec<_> = (0..5).map(|_| TcpStream::connect(("127.0.0.1", world.port)).unwrap()).collect();
    world.step(Step::Ended(life(0, 1)), usize::MAX);
    world.die_and_come_back();
    world.step(Step::Claim(life(0, 2)), usize::MAX);
    let claim = world.running[0].1.as_ref().unwrap();
    assert!(!claim.fresh);
    let served = std::iter::from_fn(|| accept_waiting(&claim.fd).unwrap()).count();
    assert_eq!(served, 5);
}

#[test]
fn names_that_cannot_be_read_are_dropped_and_others_left_alone() {
    let fd = || rpm_sys::fd::null().unwrap();
    let mut ports = Ports::restore(vec![("port/from the future".into(), fd()), ("log/1".into(), fd())], &[]);
    let changes: Vec<_> = ports.changes().collect();
    assert!(matches!(&changes[..], [rpm_share::Change::Forget { name }] if name == "port/from the future"));
}

#[test]
fn a_stranger_in_the_group_makes_a_new_slot_fail_and_the_old_ones_serve_on() {
    use rpm_sys::net::{Address, listen};
    let mut world = World::new();
    world.step(Step::Claim(life(0, 1)), usize::MAX);
    world.step(Step::Admit(life(0, 1)), usize::MAX);
    let join = listen::Listen { sharing: listen::Sharing::Join, ..listen::Listen::default() };
    let stranger = listen::listen(&Address::TcpAny { port: world.port }, join).unwrap();
    let want = Want::parse(&world.port.to_string()).unwrap();
    let refused = world.ports.claim(life(0, 2), APP, &want, SocketMode::Reuseport).unwrap_err();
    assert_eq!(refused.errno, 98);
    world.check();
    assert!(world.ports.is_steered(life(0, 1)));
    drop(stranger);
    world.step(Step::Claim(life(0, 2)), usize::MAX);
    world.check();
}

/// The keeper lost the first slot, which its worker still has: nobody knows the places, so the kernel chooses.
#[test]
fn without_a_part_of_the_descriptors_the_kernel_chooses_and_no_spare_stays() {
    let mut world = World::new();
    for worker in 0..3 {
        world.step(Step::Claim(life(worker, 1)), usize::MAX);
        world.step(Step::Admit(life(worker, 1)), usize::MAX);
    }
    let lost = world.keeper.0.keys().find(|name| name.contains("/0.1/")).unwrap().clone();
    world.keeper.0.remove(&lost);
    world.die_and_come_back();
    assert!(!world.ports.is_steered(life(1, 1)));
    world.step(Step::Ended(life(1, 1)), usize::MAX);
    world.step(Step::Close(1), usize::MAX);
    assert_eq!(world.keeper.0.len(), 1);
    let _open: Vec<_> = (0..40).map(|_| TcpStream::connect(("127.0.0.1", world.port)).unwrap()).collect();
    let served: usize = world
        .running
        .iter()
        .map(|(_, claim)| std::iter::from_fn(|| accept_waiting(&claim.as_ref().unwrap().fd).unwrap()).count())
        .sum();
    assert_eq!(served, 40, "only running workers are left in the group");
}
