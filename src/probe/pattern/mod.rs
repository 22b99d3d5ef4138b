//! Perl's regular expressions over bytes, as ldirectord matches `receive`. Pure.
//!
//! `parse` reads Perl's syntax into a tree of `node::Node`s and refuses what it can not carry
//! over exactly. A tree that is a regular expression is matched by the `regex` crate, in linear time
//! (`emit`); one with look-around, back-references or atomic groups is made a `program`, which `run`
//! runs with a limit to its steps, since its time can grow without bound.

mod class;
mod emit;
mod escape;
mod node;
mod parse;
mod program;
mod run;
mod set;

use std::fmt;

use program::Program;
use regex::bytes::{Regex, RegexBuilder};

/// Longest pattern, in bytes.
const LENGTH: usize = 4096;
/// Largest pattern, counted repeats written out.
const SIZE: usize = 5_000;

/// A pattern, ready to match.
#[derive(Debug)]
pub struct Pattern(Engine);

#[derive(Debug)]
enum Engine {
    /// Found everywhere.
    Empty,
    /// In linear time.
    Regular(Regex),
    /// With a limit to its steps.
    Backtracking(Program),
}

/// Why a pattern is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatternFault {
    /// Where, in bytes of the pattern.
    pub offset: usize,
    /// How many bytes of it are at fault.
    pub length: usize,
    /// What is wrong.
    pub message: String,
    /// What is allowed, or what to do.
    pub help: &'static str,
}

/// Matching takes more steps than are allowed; whether the text matches is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooComplex;

impl fmt::Display for TooComplex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("matching takes too many steps")
    }
}

impl std::error::Error for TooComplex {}

impl Pattern {
    /// Reads a pattern as Perl 5.36 reads `m/$pattern/` over byte strings, without flags.
    pub fn perl(pattern: &[u8]) -> Result<Pattern, PatternFault> {
        let whole = |message: String, help| PatternFault { offset: 0, length: pattern.len(), message, help };
        if pattern.is_empty() {
            return Ok(Pattern(Engine::Empty));
        }
        if pattern.len() > LENGTH {
            return Err(whole("the pattern is too long".to_owned(), "at most 4096 bytes"));
        }
        let (node, groups) = parse::parse(pattern)?;
        if node.size() > SIZE {
            return Err(whole("the pattern is too large".to_owned(), "use smaller counts in `{…}`"));
        }
        let Some(regular) = emit::emit(&node) else {
            return Ok(Pattern(Engine::Backtracking(Program::of(&node, groups))));
        };
        let regex = RegexBuilder::new(&regular).unicode(false).build();
        let regex =
            regex.map_err(|error| whole(format!("the pattern can not be used: {error}"), "simplify it"))?;
        Ok(Pattern(Engine::Regular(regex)))
    }

    /// Whether the search takes well below a millisecond on any text of that many bytes. One that
    /// does not can take a tenth of a second, and should not be made where others wait.
    pub fn is_quick(&self, length: usize) -> bool {
        match self.0 {
            Engine::Empty => true,
            Engine::Regular(_) => length <= 64 * 1024,
            Engine::Backtracking(_) => false,
        }
    }

    /// Whether the pattern is found in the text.
    pub fn matches(&self, text: &[u8]) -> Result<bool, TooComplex> {
        match &self.0 {
            Engine::Empty => Ok(true),
            Engine::Regular(regex) => Ok(regex.is_match(text)),
            Engine::Backtracking(program) => run::find(program, text),
        }
    }
}
