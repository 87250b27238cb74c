setTimeout(() => { throw new TypeError('thrown by hand'); }, 100);
