#!/bin/sh
# The main job, for real: start, share a port, scale, reload under load. Run by `make run`; RPM is the binary.
set -eu
cd "$(dirname "$0")/.."
load=$(dirname "$RPM")/load
PORT=${PORT:-8000}
export PORT
url=http://127.0.0.1:$PORT/

say() { printf '\n%s\n' "$*"; }
shown() { say "\$ rpm $*"; "$RPM" "$@"; }

say "An HTTP API on port $PORT, one worker for each core."
shown start ecosystem.example.json

say "Who answers? Sixteen new connections to $url"
node -e '
  const http = require("http"), seen = {};
  const ask = (left) => left === 0
    ? Object.entries(seen).forEach(([pid, count]) => console.log(`  worker ${pid} answered ${count}`))
    : http.get(process.argv[1], { agent: false }, (answer) => {
        let text = "";
        answer.on("data", (data) => text += data).on("end", () => {
          const { pid } = JSON.parse(text);
          seen[pid] = (seen[pid] || 0) + 1;
          ask(left - 1);
        });
      });
  ask(16);' "$url"

shown scale api +2

say "Reloading all workers while 8 clients ask without a pause, each time on a new connection."
report=$(mktemp)
trap 'rm -f "$report"' EXIT
"$load" --url "$url" --connections 8 --duration 8 >"$report" &
pid=$!
shown reload api
say "The clients go on until their 8 seconds are over ..."
wait "$pid" || true
node -e '
  const report = JSON.parse(require("fs").readFileSync(process.argv[1], "utf8"));
  console.log(`  ${report.requests} requests, ${report.failed} failed, ${Object.keys(report.by_pid).length} workers answered`);
  process.exitCode = report.failed ? 1 : 0;' "$report"

say "The API is still running. What to type next:"
echo "  $RPM monit            # the dashboard: r reloads, + and - scale, q leaves"
echo "  $RPM logs api         # what the workers write"
echo "  $RPM kill             # stop everything"
