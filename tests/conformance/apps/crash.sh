#!/bin/bash
sleep 0.05
exit ${CODE:-3}
