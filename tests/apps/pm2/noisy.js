// Writes without end.
setInterval(() => console.log('x'.repeat(100)), 5);
