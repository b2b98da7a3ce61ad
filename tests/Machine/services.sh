# SPDX-License-Identifier: Apache-2.0
# services.sh: Debian's static busybox on the machine's card, unmodified: clients of services.c, and servers for it.
#
# apus: shell: busybox
# apus: tools: yes
# apus: beside: services.c
# apus: machine: microvm
# apus: memory: 256M
# apus: timeout: 180
# apus: stdout-has: address 10.0.2.15
# apus: stdout-has: nameserver 10.0.2.3
# apus: stdout-has: hello there
# apus: stdout-has: wget: 300000 bytes
# apus: stdout-has: sink: 108894 bytes, sum 62f737f8ecbb0518
# apus: stdout-has: Address: 192.0.2.7
# apus: stdout-has: the same file by FTP
# apus: stdout-has: 1 packets received
# apus: stdout-has: httpd answered
# apus: stdout-has: telnetd answered
# apus: stdout-has: end

set -e
echo "address $(ifconfig eth0 2>/dev/null | sed -n 's/.*inet addr:\([0-9.]*\).*/\1/p')"
cat /etc/resolv.conf
mkdir -p /tmp/www
cd /tmp
wget -q -O - "http://10.0.2.2:$1/hello"
wget -q -O big "http://10.0.2.2:$1/big"
echo "wget: $(wc -c <big) bytes"
seq 1 20000 | nc 10.0.2.2 "$2"
nslookup www.apus.test "10.0.2.2:$3"
ftpget -P "$4" 10.0.2.2 file big.bin
cmp big file && echo "the same file by FTP"
ping -c 1 10.0.2.2
echo "the machine's page" >www/index.html
httpd -f -p 80 -h www &
telnetd -F -p 23 -l /bin/sh &
wget -q -O - "http://10.0.2.2:$1/done"
kill %1 %2
echo end
