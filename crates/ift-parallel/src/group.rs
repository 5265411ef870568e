//! Ranks on threads of one process.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crate::{Collective, CollectiveError, check_root};

/// Makes the ranks of a run that is divided over threads.
#[derive(Debug)]
pub struct Group;

impl Group {
    /// `size` ranks, to be moved to a thread each.
    pub fn of(size: usize) -> Vec<Member> {
        let size = size.max(1);
        let exchange = Exchange { state: Mutex::new(State::new(size)), changed: Condvar::new() };
        let exchange = Arc::new(exchange);
        (0..size).map(|rank| Member { rank, size, exchange: Arc::clone(&exchange) }).collect()
    }
}

/// A rank of a [`Group`].
#[derive(Debug)]
pub struct Member {
    rank: usize,
    size: usize,
    exchange: Arc<Exchange>,
}

#[derive(Debug)]
struct Exchange {
    state: Mutex<State>,
    changed: Condvar,
}

/// One exchange at a time: every rank gives, then every rank takes.
#[derive(Debug)]
struct State {
    /// What each rank gave.
    given: Vec<Option<Vec<u8>>>,
    /// Ranks that have taken the present exchange's bytes; they wait for the next.
    taken: usize,
    /// Whether a rank is gone, so that nobody waits for it.
    left: bool,
}

impl State {
    fn new(size: usize) -> Self {
        Self { given: vec![None; size], taken: 0, left: false }
    }
}

impl Member {
    fn exchange(
        &self,
        operation: &'static str,
        bytes: Vec<u8>,
    ) -> Result<Vec<Vec<u8>>, CollectiveError> {
        let Exchange { state, changed } = &*self.exchange;
        let gone = || {
            let problem = "another rank has ended".to_owned();
            CollectiveError { rank: self.rank, operation, problem }
        };
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        // The exchange before may still be taken by others.
        while state.given[self.rank].is_some() {
            if state.left {
                return Err(gone());
            }
            state = changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.given[self.rank] = Some(bytes);
        changed.notify_all();
        while state.given.iter().any(Option::is_none) {
            if state.left {
                return Err(gone());
            }
            state = changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let all = state.given.iter().flatten().cloned().collect();
        state.taken += 1;
        if state.taken == self.size {
            *state = State { left: state.left, ..State::new(self.size) };
            changed.notify_all();
        }
        Ok(all)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut state = self.exchange.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.left = true;
        self.exchange.changed.notify_all();
    }
}

impl Collective for Member {
    fn size(&self) -> usize {
        self.size
    }

    fn rank(&self) -> usize {
        self.rank
    }

    fn all_reduce_sum(&self, values: &mut [f64]) -> Result<(), CollectiveError> {
        const OPERATION: &str = "all_reduce_sum";
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let mut sums = vec![0.0; values.len()];
        for (rank, bytes) in self.exchange(OPERATION, bytes)?.iter().enumerate() {
            let (elements, _) = bytes.as_chunks::<8>();
            if elements.len() != sums.len() {
                let (found, expected) = (elements.len(), sums.len());
                let problem = format!("rank {rank} gave {found} elements, expected {expected}");
                return Err(CollectiveError { rank: self.rank, operation: OPERATION, problem });
            }
            for (sum, element) in sums.iter_mut().zip(elements) {
                *sum += f64::from_le_bytes(*element);
            }
        }
        values.copy_from_slice(&sums);
        Ok(())
    }

    fn all_gather(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, CollectiveError> {
        self.exchange("all_gather", bytes.to_vec())
    }

    fn broadcast(&self, root: usize, bytes: &mut Vec<u8>) -> Result<(), CollectiveError> {
        check_root(self, root)?;
        let own = if root == self.rank { bytes.clone() } else { Vec::new() };
        *bytes = self.exchange("broadcast", own)?.swap_remove(root);
        Ok(())
    }

    fn barrier(&self) -> Result<(), CollectiveError> {
        self.exchange("barrier", Vec::new()).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::Solo;

    /// Runs `work` on every rank of a group; results come in the order of the ranks.
    fn on_each<T: Send>(size: usize, work: impl Fn(Member) -> T + Sync) -> Vec<T> {
        thread::scope(|scope| {
            let start = |member| scope.spawn(|| work(member));
            let threads: Vec<_> = Group::of(size).into_iter().map(start).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    }

    #[test]
    fn all_ranks_get_the_same_again_and_again() {
        let results = on_each(3, |member| {
            let mut out = Vec::new();
            for round in 0..50u8 {
                let mut sums = [member.rank() as f64, f64::from(round), 0.1];
                member.all_reduce_sum(&mut sums).unwrap();
                let own = vec![member.rank() as u8; member.rank() + usize::from(round)];
                let gathered = member.all_gather(&own).unwrap();
                let mut bytes = vec![round + member.rank() as u8];
                member.broadcast(1, &mut bytes).unwrap();
                member.barrier().unwrap();
                out.push((sums.map(f64::to_bits), gathered, bytes));
            }
            out
        });
        assert!(results.windows(2).all(|pair| pair[0] == pair[1]));
        let (sums, gathered, bytes) = &results[0][4];
        assert_eq!(sums.map(f64::from_bits), [3.0, 12.0, 0.1 + 0.1 + 0.1]);
        assert_eq!(gathered[..], [vec![0; 4], vec![1; 5], vec![2; 6]]);
        assert_eq!(bytes, &[5]);
    }

    #[test]
    fn nobody_waits_for_a_rank_that_has_ended() {
        let results = on_each(2, |member| (member.rank() == 0).then(|| member.barrier()));
        assert!(results[0].as_ref().unwrap().is_err());
    }

    #[test]
    fn wrong_calls_are_named() {
        let message = Solo.broadcast(1, &mut Vec::new()).unwrap_err().to_string();
        assert!(message.contains("root 1") && message.contains("below 1"), "{message}");
        let results = on_each(2, |member| member.all_reduce_sum(&mut vec![0.0; member.rank() + 1]));
        assert!(results.iter().any(|r| r.as_ref().is_err_and(|e| e.problem.contains("elements"))));
    }
}
