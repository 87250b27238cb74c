//! Sharing a port among workers: slots, steering, drains, and Node's cluster protocol.
