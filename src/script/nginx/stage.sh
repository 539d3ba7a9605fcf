# On the server, after the functions: $candidate, $release, $generation, $base, $listeners, $folder and the function engine are set by the caller;
# write_files writes the files into the current directory.
umask 022
cd "$folder" 2>/dev/null || fail "the folder $folder is missing: it was there when the plan was made" 'run the command again: the next plan makes it anew'
current=$(readlink current)
if [ "$current" = "releases/$generation" ]; then
    say "seen: generation $generation is live already"
    exit 0
fi
candidate=releases/$generation.new
rm -rf "$candidate"
mkdir -p "$candidate/http.d" "$candidate/stream.d" "$candidate/pages" || fail "the folder $folder/$candidate cannot be made" "is the disk full? df -h $folder"
discard() {
    cd "$folder" && rm -rf "$candidate"
    fail "$@"
}
if [ -n "$base" ] && [ "$base" != bootstrap ]; then
    [ -d "releases/$base" ] || discard "generation $base, whose files are to be carried over, is not on this server" 'plan again'
    cp -R "releases/$base/." "$candidate/" || discard "the files of generation $base cannot be copied"
fi
cd "$candidate" || fail "the folder $folder/$candidate is gone"
write_files || discard "the files of generation $generation cannot be written to $folder/$candidate" "is the disk full? df -h $folder"
# The id is a digest of everything: files of other projects that were edited since the plan was made show here.
if command -v sha256sum >/dev/null 2>&1; then
    digest=$({ find . -type f ! -path ./generation.conf | sed 's,^\./,,' | LC_ALL=C sort | xargs sha256sum; echo "base ${base:--}"; } | sha256sum)
    digest=$(printf %.16s "$digest")
    [ "$digest" = "$generation" ] || discard "the files carried over from generation $base are not the ones that this run was made for (they amount to $digest)" 'somebody has edited or deployed here: plan again'
fi
find . -type d -exec chmod 755 {} + && find . -type f -exec chmod 644 {} + || discard 'the modes of the files cannot be set'
cd "$folder" || fail "the folder $folder is gone"
ask "$container" sh -c "$inner" flipside "/flipside/nginx/$candidate/nginx.conf" $listeners || {
    # NGINX writes a line with its name, or, once it has read `error_log stderr`, one with the time. The last only says that the test failed.
    reason=$(printf '%s\n' "$answer" | sed -n 's/^error: //p;s/^nginx: \[/[/p;s,^[0-9]*/[0-9]*/[0-9]* [0-9:]* \(\[[a-z]*\]\) [0-9#]*: ,\1 ,p' | grep -v -e '^\[warn\]' -e '^\[notice\]' | head -n 1)
    discard "NGINX refuses generation $generation: ${reason:-$(printf '%s\n' "$answer" | tail -n 1)}" "$(printf '%s\n' "$answer" | sed -n 's/^hint: //p' | tail -n 1)"
}
# A second copy, that nobody has a reason to edit: what the files were, when somebody edits the first.
{ rm -rf "sealed/$generation.new" "sealed/$generation" && mkdir -p sealed && cp -R "$candidate" "sealed/$generation.new" &&
    mv "sealed/$generation.new" "sealed/$generation"; } || {
    rm -rf "sealed/$generation.new"
    discard "the copy of generation $generation cannot be written to $folder/sealed" 'is the disk full?'
}
rm -rf "releases/$generation" && mv "$candidate" "releases/$generation" || discard "generation $generation cannot be put in its place"
# Before anybody points to it: a server that loses its power has the files, and not their names alone.
find "releases/$generation" "sealed/$generation" -exec sync {} + 2>/dev/null || sync
say "seen: generation $generation passes nginx -t"
