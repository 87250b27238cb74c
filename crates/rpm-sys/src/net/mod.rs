//! Sockets: what the balancer and the steering of shared ports ask of the kernel.
