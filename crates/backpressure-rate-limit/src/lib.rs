//! A tower layer that admits by rate: fixed window, sliding window, token bucket and leaky bucket, keyed per client
