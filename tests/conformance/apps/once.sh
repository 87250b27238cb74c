#!/bin/bash
echo ran >> once.ran
exit ${CODE:-0}
