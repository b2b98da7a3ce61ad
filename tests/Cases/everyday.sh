# SPDX-License-Identifier: Apache-2.0
# everyday.sh: what people do with a shell all day; its output on Apus is compared with the host's, byte for byte.
#
# It uses the shell that runs it and, for everything else, busybox: the one in PATH, whose applets it links into a
# directory of its own. It works in a new directory below $TMPDIR or /tmp, so it prints no path outside of that, and
# nothing that depends on process numbers, on the time or on the machine.
#
# apus: shell: busybox bash
# apus: tools: yes
# apus: compare: host
# apus: status: 7
# apus: timeout: 1200
# apus: memory: 512M

export LC_ALL=C TZ=UTC0
umask 022
busybox=$(command -v busybox) || busybox=/bin/busybox
base=${TMPDIR:-/tmp}
home=$("$busybox" mktemp -d "$base/everyday.XXXXXX") || exit 99
"$busybox" mkdir "$home/bin" "$home/work" || exit 99
"$busybox" --install -s "$home/bin" || exit 99
PATH=$home/bin
export PATH
cd "$home/work" || exit 99

title() { printf '== %s\n' "$*"; }

# check WANTED COMMAND...: says the exit status of a command and whether it is the one wanted.
check() {
  wanted=$1
  shift
  "$@"
  got=$?
  if [ "$got" = "$wanted" ]; then echo "status $got"; else echo "status $got, not $wanted: $*"; fi
}

title pipelines
printf '%s\n' pear apple fig apple cherry fig apple | sort | uniq -c | sort -k1,1nr -k2 | awk '{print $1, $2}'
seq 1 20 | grep -v '[05]$' | tr '\n' ' ' | sed 's/ $//'
echo
echo abc | { read -r word; echo "[$word]"; } | cat | cat | cat
true | false
echo "last of a pipe: $?"
! false | false
echo "negated: $?"
yes | head -n 3
seq 100000 | tail -n 1
(echo one; echo two >&2) 2>&1 | sort

title here-documents
name=swift
cat <<END
hello $name, $((6 * 7)) and $(echo nested | tr a-z A-Z)
  \$name stays
END
cat <<'END'
no $expansion, no `command`, no \escape
END
cat <<-END
	tabs	go from the left only
	END
tr a-z A-Z <<ONE; tr A-Z a-z <<TWO
first text
ONE
SECOND TEXT
TWO
while read -r a b; do echo "$b-$a"; done <<END
1 one
2 two words
END

title globbing
mkdir glob && cd glob || exit 98
touch a1 a2 b1 b2 .hidden 'with space' '[x]' café
echo *
echo a? [b]1 [!ab]* .h*
echo none*here
echo '*' "a*" \*
for file in *; do printf '<%s>' "$file"; done
echo
case readme.txt in *.md) echo markdown ;; *.t?t) echo text ;; *) echo other ;; esac
mkdir -p x/1 x/2 y/1 && touch x/1/f x/2/f y/1/g
echo */*/f x/[12]
set -f; echo *; set +f
cd ..

title functions and parameters
count() { echo "$#"; }
factorial() {
  if [ "$1" -le 1 ]; then echo 1; else echo $(($1 * $(factorial $(($1 - 1))))); fi
}
count a 'b c' "$name" ''
set -- one 'two three' four
count "$@"; count "$*"; count $*
echo "${1} ${#2} ${9:-default} ${name%ft} ${name#s} ${name:+set} $#"
shift 2; echo "$1 $#"
file=/usr/local/lib/libx.so.1
echo "${file##*/} ${file%/*} ${file%%.*} ${#file}"
factorial 12
early() { return 42; echo never; }
check 42 early
shadow() { local name=inner; echo "$name"; }
shadow; echo "$name"
unset nothing; echo "${nothing-unset} ${nothing:=now} $nothing"
IFS=:; set -- $(echo a:b::c); IFS=' 	
'
echo "$# $4"

title arithmetic
echo $((1 + 2 * 3)) $(((1 + 2) * 3)) $((17 / 5)) $((17 % 5)) $((-17 / 5)) $((1 << 10)) $((0xff & 0x0f)) $((5 > 3 && 2 > 1))
echo $((9223372036854775807)) $((9223372036854775807 + 1)) $((~0)) $((3 == 3 ? 10 : 20))
i=5; echo $((i += 3)) $i $((i * i))
expr 6 \* 7; expr length abcdef; expr abcdef : 'abc\(.*\)'; expr 5 \> 3
check 1 expr 1 = 2
n=0; while [ $n -lt 1000 ]; do n=$((n + 1)); done; echo $n
awk 'BEGIN { printf "%d %.6f %e %s\n", 2*20, 22/7, 6.02e23, substr("exokernel", 4) }'
echo '2 3 + 4 * p' | dc

title redirections
echo first >r1; echo second >>r1; cat <r1; cat r1 - <r1 | wc -l
{ echo out; echo err >&2; } >r2 2>r3; cat r2 r3
{ echo both; echo streams >&2; } >r4 2>&1; sort r4
exec 5>r5; echo five >&5; echo more >&5; exec 5>&-; cat r5
exec 6<r1; read -r x <&6; read -r y <&6; exec 6<&-; echo "$x/$y"
(echo closed >&7) 2>/dev/null; echo "bad descriptor: $(($? != 0))"
check 1 sh -c 'set -C; echo x >r1' 2>/dev/null
: >r6; wc -c <r6
echo readwrite 1<>r6; cat r6
cat no-such-file 2>/dev/null || echo "cat failed with $?"
ls no-such-file 2>&1 | sed 's/.*: //'
for n in 1 2 3; do echo $n; done >r7; tail -n +2 r7 | head -n 1
echo swap 3>&1 1>&2 2>&3 3>&- 2>/dev/null | cat
if echo discarded >/dev/null && ! read -r line </dev/null; then echo 'null device'; fi
(cd / && echo x >/no/such/dir/file) 2>/dev/null || echo "no directory"

title subshells and statuses
var=outer; (var=inner; echo "$var"; exit 3); echo "$? $var"
check 127 sh -c 'no-such-command-at-all' 2>/dev/null
touch plain; check 126 sh -c ./plain 2>/dev/null
check 200 sh -c 'exit 200'
check 143 sh -c 'kill -TERM $$'
check 137 sh -c 'kill -KILL $$'
sh -c 'set -e; true; false; echo never'; echo "set -e: $?"
sh -c 'set -e; if false; then :; fi; false || true; echo reached'; echo $?
sh -c 'set -u; echo "$undefined"' 2>/dev/null; echo "set -u failed: $(($? != 0))"
sh -c 'echo "$0 $1 $#"' zero one two
env -i A=1 B='two words' env | sort
env A=1 sh -c 'echo $A; unset A; echo ${A-gone}'
X=temporary sh -c 'echo $X'; echo "${X-not kept}"
eval 'echo $((1+1)); q=5'; echo "$q"
printf 'echo dotted $1; return 4\n' >dot.sh; . ./dot.sh; echo "$?"
true && echo and || echo or; false && echo and || echo or
command -v no-such >/dev/null || echo 'no such command'
type cd >/dev/null && echo 'cd is there'

title jobs and wait
(sleep 0.05; exit 5) & first=$!
(exit 6) & second=$!
wait $first; echo $?
wait $second; echo $?
for n in 1 2 3 4 5 6 7 8; do (echo $n >job.$n) & done; wait; cat job.* | sort | tr -d '\n'; echo
sh -c 'sleep 30' & victim=$!
kill $victim; wait $victim; echo "killed: $?"
sh -c 'kill -STOP $$; exit 9' & stopped=$!
# A continue that comes before the stop is lost: repeated until it ended.
while kill -CONT $stopped 2>/dev/null; do sleep 0.01; done
wait $stopped; echo "continued: $?"
check 143 timeout 0.2 sleep 10
check 0 timeout 500 true
mkfifo go; x=$( (read -r w <go; echo late) & echo early; echo >go; wait ); echo $x; rm go

title traps and signals
sh -c 'trap "echo caught USR1" USR1; kill -USR1 $$; echo after'
sh -c 'trap "echo bye" EXIT; exit 3'; echo $?
sh -c 'trap "" TERM; kill -TERM $$; echo ignored'
sh -c 'trap "echo int; exit 7" INT; kill -INT $$; echo never'; echo $?
sh -c 'trap "echo child-trap" TERM; (trap - TERM; kill -TERM $(exec sh -c "echo \$PPID"); sleep 5); echo "$?"'
mkfifo sync
sh -c 'trap "echo got it; exit 11" HUP; echo ready >sync; while :; do sleep 0.05; done' & other=$!
read -r word <sync; kill -HUP $other; wait $other; echo "$word $?"
kill -l 9; kill -l 15
(sh -c 'while echo y; do :; done'; echo "broken pipe: $?" >broken) | true; cat broken

title named pipes and links
mkfifo pipe; cat pipe >from-pipe & echo 'through the pipe' >pipe; wait $!; cat from-pipe
echo target >t; ln -s t soft; ln t hard; cat soft hard; readlink soft; stat -c '%h %s %F' t
echo changed >soft; cat hard; rm t; cat hard; cat soft 2>/dev/null || echo dangling
[ -L soft ] && [ ! -e soft ] && echo 'a link to nothing'
ln -s loop2 loop1; ln -s loop1 loop2; cat loop1 2>&1 | sed 's/.*: //'
mkdir real; ln -s real alias; echo in >alias/file; ls alias; cd alias; pwd -P | sed 's/.*\///'; cd ..
test -p pipe && echo 'a pipe'
ln -sf nowhere soft; readlink soft; rm soft loop1 loop2 alias pipe sync

title modes
umask 027; touch masked; mkdir maskdir; stat -c '%a %n' masked maskdir; umask 022
chmod 640 masked; stat -c %a masked; chmod u+x,go-r masked; stat -c %A masked; chmod a=r masked; stat -c %a masked
chmod 4755 masked; stat -c %A masked; chmod 1777 maskdir; stat -c %A maskdir
umask; umask -S
chmod 755 masked; printf '#!/bin/busybox sh\necho "run by itself: $1"\n' >masked; [ -x masked ] && ./masked yes
touch -d '2001-02-03 04:05:06' dated; date -u -r dated '+%Y-%m-%d %H:%M:%S'; touch -r dated copy; stat -c %Y copy
[ dated -ot plain ] && echo older; [ plain -nt dated ] && echo newer; [ dated -ef ./dated ] && echo same

title find and xargs
mkdir -p tree/a/b/c tree/d; for f in tree/1.c tree/a/2.c tree/a/b/3.h tree/a/b/c/4.c tree/d/5.txt; do echo "$f" >"$f"; done
find tree -name '*.c' | sort
find tree -type d | sort
find tree -type f ! -name '*.c' -exec echo found {} \; | sort
find tree -depth -mindepth 2 -maxdepth 2 | sort
find tree -name '*.c' -print0 | sort -z | xargs -0 -n 2 echo args
find tree -type f | sort | xargs cat | xargs
seq 10 | xargs -n 3 echo; echo 'a b c' | xargs -n1 | xargs -I{} echo '<{}>'
check 123 sh -c 'echo x | xargs false'
find tree -name '*.txt' -exec rm {} + ; find tree -size +0c -type f | wc -l
find tree -newer dated -type f | wc -l; find tree -perm 644 -type f | wc -l

title awk and sed
seq 1 10 | awk '{ sum += $1; if ($1 % 2) odd[n++] = $1 } END { print sum, n; for (i = 0; i < n; i++) printf "%s,", odd[i]; print "" }'
printf 'a:1\nb:2\na:3\n' | awk -F: '{ total[$1] += $2 } END { for (k in total) print k, total[k] }' | sort
echo 'The Quick brown' | awk '{ print toupper($2), length($0), index($0, "brown"); gsub(/[aeiou]/, "_"); print }'
awk 'BEGIN { while (("echo x; echo y" | getline line) > 0) print "read " line; print "z" | "cat"; close("cat"); exit 5 }'; echo $?
awk 'function f(n) { return n < 2 ? n : f(n - 1) + f(n - 2) } BEGIN { print f(18) }'
seq 5 | sed -n '2,4p'; seq 5 | sed '2d;4s/4/four/'; echo 'a.b.c' | sed 's/\./-/2; y/abc/xyz/'
printf 'one\ntwo\nthree\n' | sed -e '/two/i\before' -e '/two/a\after' -e '$!N;P;D'
echo 'key = value' | sed -E 's/^([a-z]+) *= *(.*)$/\2=\1/'
printf 'x\ny\n' >edit; sed -i 's/x/changed/' edit; cat edit; sed '1!G;h;$!d' edit

title text tools
printf 'd 4\nb 2\na 10\nc 3\n' >table; sort table; sort -k2n table; sort -r table | head -n 1; sort -c table 2>/dev/null || echo unsorted
printf '1\n1\n2\n3\n3\n' | uniq -d; printf '1\n1\n2\n' | uniq -u
cut -d' ' -f2 table; echo abcdefgh | cut -c2-4,7; echo a,b,c | cut -d, -f1,3
printf 'a\nb\nc\n' >s1; printf 'b\nc\nd\n' >s2; cmp s1 s2; check 1 cmp -s s1 s2
diff s1 s2; echo $?; diff -u s1 s2 | tail -n +3; diff s1 s1 && echo equal
paste s1 s2; head -c 3 s1; tail -c 2 s1; tac s1; rev table; nl s1; fold -w 3 table; wc table
echo hello | od -c; printf '\001\377\000A' | od -An -tx1; printf 'xyz' | hexdump -C
echo aabbcc | tr -s a-z; echo 'Hello World' | tr -d aeiou; echo abc | tr a-c A-C
printf '%5d|%-5s|%05.1f|%x|%o|%c|%%|%s\n' 42 ab 3.14159 255 8 z end
printf '%s-%s\n' 1 2 3; printf '%b' 'tab\there\n'; echo 'plain \\ back'
seq -s, 1 2 9; seq 3 -1 1 | tr '\n' ' '; echo; seq -w 8 11 | xargs
grep -c a table; grep -n '^[bc]' table; grep -i A s1; grep -vE 'a|b' table; check 1 grep -q zzz table; echo 'foo bar' | grep -o 'o*'
echo 'aGVsbG8K' | base64 -d; echo hello | base64; basename /x/y.c .c; dirname /x/y.c
tee t1 t2 <s1 >/dev/null; cat t1 t2 | wc -l; date -u -d '2001-02-03 04:05:06' '+%a %d %b %Y %T %j %s'; date -u -d @86400 +%F
printf 'c\na\nb\n' | sort | while read -r l; do printf '%s ' "$l"; done; echo; cal 2 2000 | head -n 3 | tail -n 1
[ abc = abc ] && [ 3 -lt 10 ] && [ -n x ] && [ ! -z y ] && [ -d . ] && [ -f s1 ] && [ -s s1 ] && [ -r s1 ] && echo 'all tests hold'

title archives and sums
mkdir -p pack/deep/er; seq 5000 >pack/numbers; ln -s numbers pack/link; ln pack/numbers pack/hard; echo x >pack/deep/er/x; chmod 600 pack/deep/er/x
tar cf pack.tar pack; tar tf pack.tar | sort; mkdir out; tar xf pack.tar -C out
diff -r pack out/pack && echo same; stat -c '%a %h' out/pack/deep/er/x out/pack/numbers; readlink out/pack/link
tar czf pack.tgz pack; tar xzOf pack.tgz pack/deep/er/x; gzip -t pack.tgz && echo sound
gzip -c pack/numbers >n.gz; gunzip -c n.gz | cmp - pack/numbers && echo round; zcat n.gz | md5sum
md5sum pack/numbers; sha1sum <pack/numbers; sha256sum pack/numbers >sum; sha256sum -c sum; crc32 pack/numbers; sha512sum pack/link
bzip2 -c pack/numbers | bunzip2 | md5sum; tar cf - pack | (mkdir in && cd in && tar xf -); cat in/pack/hard | wc -l
cp -a pack copied; diff -r pack copied && echo copied; cp pack/numbers pack/deep && rm -r pack/deep && ls pack
echo data | gzip | head -c 10 | gunzip >/dev/null 2>&1; echo "broken archive: $(($? != 0))"
printf 'a\n' >cp1; printf 'b\n' >cp2; ls cp1 cp2 | cpio -o -H newc 2>/dev/null | cpio -t 2>/dev/null

if [ -z "$EVERYDAY_SHORT" ]; then  # in little memory, and little time

title dd and large files
dd if=/dev/zero bs=1M count=64 2>/dev/null | md5sum
dd if=/dev/zero bs=65536 count=1024 2>/dev/null | tr '\000' 'z' >big; wc -c <big; md5sum <big; cat big | cat | cat | sha1sum
dd if=big bs=1 skip=1000000 count=5 2>/dev/null; echo; dd if=s1 of=big bs=1 seek=10 conv=notrunc 2>/dev/null; head -c 20 big | od -c
dd if=s1 2>&1 >/dev/null | head -n 2; truncate -s 100 big; wc -c <big; truncate -s 0 big; dd if=/dev/zero of=big bs=1 seek=1M count=0 2>/dev/null; wc -c <big
rm big; awk 'BEGIN { for (i = 0; i < 20000; i++) printf "x"; print "" }' >long; wc -c <long; read -r line <long; echo ${#line}
(head -c 100000 /dev/zero; echo end) | tail -c 4

title many
n=0; while [ $n -lt 300 ]; do n=$((n + 1)); (exit $((n % 256))); last=$?; done; echo "$n forks, last $last"
n=0; while [ $n -lt 100 ]; do n=$((n + 1)); /bin/busybox true || echo broken; done; echo "$n programs"
mkdir many; n=0; while [ $n -lt 500 ]; do n=$((n + 1)); echo $n >many/file$n; done; ls many | wc -l; cat many/* | awk '{ s += $1 } END { print s }'
ls many | sort | head -n 3; rm many/*1; ls many | wc -l; for f in many/*2; do mv "$f" "${f}0x"; done; ls many | grep -c x; rm -r many
deep=.; n=0; while [ $n -lt 40 ]; do n=$((n + 1)); deep=$deep/level$n; done; mkdir -p $deep; echo bottom >$deep/file
cat $deep/file; find level1 -type d | wc -l; (cd $deep && cd ../../.. && pwd | sed 's/.*\///'); rm -r level1; [ -e level1 ] || echo gone
set --; n=0; while [ $n -lt 2000 ]; do n=$((n + 1)); set -- "$@" argument$n; done; /bin/busybox echo "$@" | wc
x=$(seq 1 30000); echo ${#x}; echo "$x" | md5sum
seq 2000 | while read -r l; do case $l in *99) printf '%s ' "$l" ;; esac; done; echo
id -u; [ "$(pwd)" = "$PWD" ] && echo 'in place'; uname -s; test -c /dev/null && test -r /proc/self/stat && echo 'devices and processes'
mv s1 moved && [ -f moved ] && mkdir box && mv moved box/ && ls box; rmdir box 2>/dev/null || echo 'not empty'; rm -rf box; rm no-such 2>/dev/null || echo 'nothing to remove'

fi
cd / && rm -rf "$home"
echo done
exit 7
