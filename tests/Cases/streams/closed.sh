# SPDX-License-Identifier: Apache-2.0
# closed.sh: descriptors that are closed or empty behave as on Linux.
#
# apus: compare: host
# apus: shell: busybox
cat
echo "cat ended with $?"
echo lost >&- 2>/dev/null
echo "closed output: $?"
read line <&- 2>/dev/null
echo "closed input: $?"
