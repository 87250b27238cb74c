// Run by node, bun or deno with -e: loads a configuration and prints it between two marks, so that whatever else the
// file prints does no harm. BEGIN, END and load are put before this text.
(async () => {
  const process = globalThis.process ?? (await import('node:process')).default;
  const write = process.stdout.write.bind(process.stdout);
  const finish = (answer) => write(BEGIN + JSON.stringify(answer, plain) + END, () => process.exit(0));
  const plain = (_, value) =>
    value instanceof RegExp ? String(value) : typeof value === 'bigint' ? String(value) : value;
  // Node makes these global for code given by -e, after its first turn; an ES module that uses them by mistake shall
  // be told so.
  await null;
  for (const name of ['module', 'exports', 'require', '__filename', '__dirname']) delete globalThis[name];
  try {
    let value = await load();
    // A function may give a promise of a function; three turns are more than anyone writes.
    for (let turn = 0; turn < 3; turn++) {
      value = await (typeof value === 'function' ? value() : value);
    }
    finish({ value: value === undefined ? null : value });
  } catch (error) {
    const known = error !== null && typeof error === 'object';
    const code = known && typeof error.code === 'string' ? error.code : null;
    finish({
      error: known && error.message !== undefined ? `${error.name}: ${error.message}` : String(error),
      stack: known && typeof error.stack === 'string' ? error.stack : '',
      code,
    });
  }
})();
