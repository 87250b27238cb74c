console.error('about to fail: no database');
process.exit(Number(process.env.CODE || 3));
