//! Remembers: exact rate limiters in memory, for one limit or for a hard-bounded table of keys
