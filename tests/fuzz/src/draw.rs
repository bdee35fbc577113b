//! An input as the choices it stands for. When it is used up, every further choice is the first one.

pub(super) struct Draw<'a>(&'a [u8]);

impl<'a> Draw<'a> {
    pub(super) fn of(data: &'a [u8]) -> Self {
        Self(data)
    }

    pub(super) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    pub(super) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::from(self.byte()) % choices.len()]
    }

    /// A number of any size: a small input is enough for a small one, and for those at the ends.
    pub(super) fn number(&mut self) -> i64 {
        match self.byte() % 6 {
            0 => self.short(1),
            1 => self.short(2),
            2 => self.short(5),
            3 => self.short(8),
            4 => i64::MAX - i64::from(self.byte()),
            _ => i64::MIN + i64::from(self.byte()),
        }
    }

    /// A signed number of so many bytes.
    fn short(&mut self, bytes: u32) -> i64 {
        let unsigned = (0..bytes).fold(0_i64, |number, _| number << 8 | i64::from(self.byte()));
        let unused = 64 - 8 * bytes;
        unsigned << unused >> unused
    }

    pub(super) fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn rest(self) -> &'a [u8] {
        self.0
    }
}
