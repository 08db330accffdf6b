//! Installs of another server's snapshot.

use super::common::{open, settle};
use super::life::{Branch, Leader, Life, Receiving, Record};
use copycat_storage::{InstallError, MemDisk, Snapshot, Storage};

impl Life {
    /// Another server's log and snapshot: the same up to the snapshot here, other entries above.
    pub(crate) fn leader(&mut self) -> Leader {
        let mut leader = open(&MemDisk::new(), self.segment);
        let present = self.present();
        let shared = self.committed + self.rng.below(present.log.len() as u64 - self.committed + 1);
        let present = self.present();
        let mut log = present.log[..shared as usize].to_vec();
        self.term += 1;
        let term = self.term;
        for _ in 0..1 + self.rng.below(40) {
            let entry = self.next_entry(log.len() as u64 + 1, term);
            log.push(entry);
        }
        for entry in &log {
            leader.append(entry).unwrap();
        }
        settle(&mut leader);
        let index = shared + 1 + self.rng.below(log.len() as u64 - shared);
        let references: Vec<u64> = (1..=index).filter(|_| self.rng.one_in(3)).collect();
        let payload: Vec<u8> = (0..self.rng.below(3_000)).map(|i| (self.made + i) as u8).collect();
        let spec = Snapshot { index, time: 5, references: references.clone(), payload: payload.clone() };
        let job = leader.take_snapshot(spec).unwrap();
        leader.snapshotted(job.run()).unwrap();
        settle(&mut leader);
        log.truncate(index as usize);
        (leader, log, Record { index, references, payload, epoch: 0 })
    }

    pub(crate) fn step_receive(&mut self, storage: &mut Storage<MemDisk>) -> bool {
        match std::mem::replace(&mut self.receiving, Receiving::No) {
            Receiving::No => {
                let (mut leader, log, record) = self.leader();
                let stream = leader.stream().unwrap();
                match storage.receive(stream.chunk(0, 500).unwrap()) {
                    Ok(incoming) => self.receiving = Receiving::Chunks(Box::new((incoming, (leader, log, record)))),
                    Err(InstallError::Io(_)) => assert!(self.disk.is_cut()),
                    Err(InstallError::Busy) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            Receiving::Chunks(mut state) => {
                let (incoming, (leader, ..)) = &mut *state;
                if !incoming.is_complete() {
                    let at = incoming.received();
                    let stream = leader.stream().unwrap();
                    let chunk = stream.chunk(at, 2_000).unwrap();
                    incoming.write(at, chunk).unwrap();
                    if storage.stage_own(incoming, 20).is_err() {
                        assert!(self.disk.is_cut());
                        return false;
                    }
                    for index in storage.wanted(incoming, 10) {
                        if incoming.next().is_some_and(|next| next.index == index) {
                            let entry = leader.get(index).unwrap().unwrap().to_owned();
                            if storage.stage(incoming, &entry).is_err() {
                                assert!(self.disk.is_cut());
                                return false;
                            }
                        }
                    }
                    self.receiving = Receiving::Chunks(state);
                    return true;
                }
                let (incoming, (_, log, record)) = *state;
                if self.rng.one_in(10) {
                    storage.abandon(incoming);
                    return true;
                }
                if self.rng.one_in(5) {
                    self.disk.cut_after(self.rng.below(10));
                }
                match storage.received(incoming).and_then(copycat_storage::StageJob::run) {
                    Ok(staged) => {
                        self.receiving = Receiving::Staged(Box::new((staged, log, record)));
                        self.disk.cut_after(u64::MAX);
                    }
                    Err(error) => {
                        assert!(self.disk.is_cut(), "{error}");
                        self.stats.cut_stages += 1;
                        return false;
                    }
                }
            }
            Receiving::Staged(state) => {
                let (staged, log, record) = *state;
                match storage.install(staged) {
                    Ok(()) => {
                        let epoch = self.present().epoch + 1;
                        self.committed = record.index;
                        let unreferred = (1..=record.index).filter(|i| !record.references.contains(i));
                        self.released = unreferred.collect();
                        self.branches.push(Branch { floor: log.len(), log, cut: 0, epoch, lost: self.present().lost });
                        self.pending = Some(Record { epoch, ..record });
                        self.term += 1;
                        self.stats.installs += 1;
                    }
                    Err(refused) => {
                        self.stats.refused += 1;
                        if matches!(refused.reason, InstallError::Busy) {
                            self.receiving = Receiving::Staged(Box::new((refused.staged, log, record)));
                        } else {
                            storage.abandon_staged(refused.staged);
                        }
                    }
                }
            }
        }
        !self.disk.is_cut()
    }
}
