setTimeout(() => { throw new Error('boom'); }, 20);
