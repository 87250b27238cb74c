#!/bin/bash
exec sleep 100000
