// Writes its arguments, its directory and the variables that WANT lists, as one JSON line in `brief.NAME.INSTANCE`.
const fs = require('fs');
const path = require('path');
const wanted = (process.env.WANT || '').split(',').filter(Boolean);
const env = Object.fromEntries(wanted.map((name) => [name, process.env[name] === undefined ? null : process.env[name]]));
const file = path.join(__dirname, `brief.${process.env.name}.${process.env.NODE_APP_INSTANCE || 0}`);
fs.appendFileSync(file, JSON.stringify({ args: process.argv.slice(2), execArgv: process.execArgv, cwd: process.cwd(), env }) + '\n');
setInterval(() => {}, 1e6);
