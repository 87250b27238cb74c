# What a day of a supervisor looks like, for `make layout`: commands, crashes, a reload under way, quiet.
RPM_HOME=$(mktemp -d)
export RPM_HOME
work=$(mktemp -d)
cat > "$work/apps.json" <<J
{"apps": [
  {"name": "api", "script": "$PWD/examples/api/server.js", "instances": 2, "exec_mode": "cluster", "env": {"PORT": 0}},
  {"name": "job", "script": "/bin/sleep", "args": "1000", "instances": 100, "exec_mode": "fork"}
]}
J
"$PROGRAM" ping
"$PROGRAM" start "$work/apps.json"
"$PROGRAM" list
"$PROGRAM" jlist > "$work/list"
sleep 3
# So many that every map and every sort is beyond what it does differently for a few.
for time in 1 2 3; do kill -9 $("$PROGRAM" pid job); sleep 3; done
for pid in $("$PROGRAM" pid api) $("$PROGRAM" pid job | head -8); do kill -9 "$pid"; sleep 0.2; done
sleep 3
"$PROGRAM" list
"$PROGRAM" restart job
"$PROGRAM" reload api
"$PROGRAM" scale job +2
"$PROGRAM" describe api > "$work/api"
"$PROGRAM" logs --nostream --lines 5
"$PROGRAM" save
"$PROGRAM" stop job
"$PROGRAM" start job
"$PROGRAM" delete job
sleep 3
"$PROGRAM" kill
rm -r "$RPM_HOME" "$work"
