# Makes the units of one of several accounts, acrelayd@NAME.socket, acrelayd@NAME.service and
# acrelay-worker@NAME.service, out of the plain ones: `make install` does it. Whatever two accounts
# must not share has the name in it.
s/^\(Description=acrelay [a-z]*\):/\1 (%i):/
s/acrelayd\.socket/acrelayd@%i.socket/
s|--config /etc/acrelay/acrelay\.yaml|--account %i|
# systemd makes a user for each instance
/^User=/d
s/^\(StateDirectory\|RuntimeDirectory\)=.*/&-%i/
s|^LoadCredential=\(.*\):/etc/acrelay/\(.*\)|LoadCredential=%i-\1:/etc/acrelay/%i-\2|
s/^SetCredential=/&%i-/
s/systemctl edit acrelay[a-z-]*/&@NAME/
# A port could be another account's; a path cannot.
s|^ListenStream=.*|ListenStream=/run/acrelay/%i.sock|
# of TCP only
/^NoDelay=/d
