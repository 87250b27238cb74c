import { cpus } from 'node:os';
export default async () => ({ apps: [{ name: 'esm', script: 'index.mjs', env: { MANY: cpus().length > 0 } }] });
