#!/bin/sh
# From a table to a served network in ten commands; docs/tutorials/ten_commands.md explains them.
# Run it where make_table.py has made the folder motion. What you give it goes to the last command, such as --port 8080.
set -eu

fusionkit init motion/samples.csv --out motion
fusionkit check motion/samples.yaml
fusionkit train motion/samples.yaml --out runs/motion \
  train.select=inner train.inner_fraction=0.5
fusionkit evaluate runs/motion --data motion/later.csv
fusionkit calibrate runs/motion --level 0.9
fusionkit predict runs/motion motion/later.csv --set 0.9 --out answers.csv
fusionkit timeline runs/motion accelerometer=motion/day_accelerometer.npy gyroscope=motion/day_gyroscope.npy \
  --every 1 --window 5 --vtt day.vtt
fusionkit export runs/motion --to onnx --out motion_onnx
fusionkit share runs/motion --out shared_motion
fusionkit serve runs/motion --window 5 "$@"
