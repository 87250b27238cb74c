console.error('I give up');
process.exit(3);
