//! The one variable that a child must write itself: its own pid, which nobody knows before it is there.
//!
//! The parent keeps room for it and puts the pointer into the child's environment; the child, which has its
//! own copy of that memory, writes the number. Nothing is allocated for that.

use super::super::given::LISTEN_PID;
use nix::libc::c_char;

/// Room for the digits of any pid, and the zero byte at the end.
const ROOM: usize = 11;

/// Room for the variable. It stays where it is.
#[derive(Debug)]
pub(super) struct PidVariable {
    text: Vec<u8>,
}

impl Default for PidVariable {
    fn default() -> Self {
        let mut text = [LISTEN_PID.as_bytes(), b"="].concat();
        text.extend([0; ROOM]);
        Self { text }
    }
}

impl PidVariable {
    /// Where it stands. To be used before this is touched again.
    pub(super) fn place(&mut self) -> PidPlace {
        PidPlace(self.text.as_mut_ptr())
    }
}

/// Where the variable stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct PidPlace(*mut u8);

impl PidPlace {
    /// For the environment: a C string as soon as the number is [written](Self::write), and before it, too.
    pub(super) fn variable(self) -> *const c_char {
        self.0.cast_const().cast()
    }

    /// Writes the number. Fit for a forked child: plain memory.
    ///
    /// # Safety
    /// The [`PidVariable`] that it is the place of is there still, and nobody else looks at it.
    pub(super) unsafe fn write(self, pid: u32) {
        let start = LISTEN_PID.len().saturating_add(1);
        // SAFETY: the room behind the name, which the caller has to itself.
        let room = unsafe { std::slice::from_raw_parts_mut(self.0.add(start), ROOM) };
        digits(pid, room);
    }
}

/// The digits of a number, and zero bytes to the end of the room.
fn digits(number: u32, room: &mut [u8]) {
    let count = number.checked_ilog10().unwrap_or(0) as usize + 1;
    let mut left = number;
    room.fill(0);
    for byte in room.iter_mut().take(count).rev() {
        *byte = b'0' + (left % 10) as u8;
        left /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CStr;

    #[test]
    fn a_pid_of_any_length_is_written_over_whatever_was_there() {
        let mut variable = PidVariable::default();
        let place = variable.place();
        for pid in [u32::MAX, 0, 7, 10, 99, 4_194_304, 1] {
            // SAFETY: `variable` is there, and looked at below only.
            let text = unsafe {
                place.write(pid);
                CStr::from_ptr(place.variable())
            };
            assert_eq!(text.to_str().unwrap(), format!("LISTEN_PID={pid}"));
        }
    }
}
